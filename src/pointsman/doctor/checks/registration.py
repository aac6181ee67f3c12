"""R1, R2: who is the proxy, is that process alive, and does it renew its lease?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped, warn
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


def look_lease(scene: Scene) -> Finding:
    status = scene.live
    active = next((item for item in status.registrations if item.registration == status.active_registration), None)
    if active is None:
        return skipped("no registration is active (R1)")
    if active.lease_left_ms * 4 < active.lease_ms:
        return warn(
            f"{active.lease_left_ms} ms of {active.lease_ms} ms are left",
            "when it is over, connections go direct", "the proxy is slow or suspended: see its log and the load",
        )  # fmt: skip
    return ok(f"{active.lease_left_ms} ms of {active.lease_ms} ms are left; the proxy renews it every second")


CHECK = Check("R1", "registration", Need.DRIVER, look)
LEASE = Check("R2", "lease", Need.DRIVER, look_lease)
