"""R1: who is the proxy, and is that process alive?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, warn
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    status = scene.live
    if not status.registrations:
        return fail("no proxy is registered", DIRECT, "pointsman run, or pointsman service start")
    newest = status.registrations[0]
    others = f", {len(status.registrations) - 1} older ones behind it" if len(status.registrations) > 1 else ""
    told = f"the proxy is process {newest.pid} (registration {newest.registration}{others})"
    if status.active_registration == 0:
        return fail(
            f"{told}, and none is active: their leases are over", DIRECT, "the proxy hangs: see its log, restart it"
        )
    if scene.maybe_host is not None and newest.process_start:
        start = scene.maybe_host.process_start(newest.pid)
        if start is not None and start != newest.process_start:
            return fail(
                f"{told}, but that process is another one now",
                DIRECT,
                "restart the driver, then the proxy; report this",
            )
    if status.active_registration != newest.registration:
        return warn(
            f"{told}; registration {status.active_registration} is the active one", "an older proxy does the work",
            "the newest proxy hangs or withdraws: see its log",
        )  # fmt: skip
    return ok(told)


CHECK = Check("R1", "registration", Need.DRIVER, look)
