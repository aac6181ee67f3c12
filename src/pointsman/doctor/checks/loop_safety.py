"""R6: the proxy's own connections do not come back to it."""

from __future__ import annotations

from pointsman.doctor.canary import TARGET_V4, TCP
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped
from pointsman.doctor.flight import HTTP
from pointsman.doctor.scene import Scene
from pointsman.system.interface import DriverError
from pointsman.wire.abi import Reason, Verdict


def look(scene: Scene) -> Finding:
    """The proxy's own connections must not come back to it."""
    if not scene.live.active_registration:
        return skipped("no proxy is active (R1)")
    try:
        sighting = scene.sighting(TCP, TARGET_V4, HTTP)
    except (OSError, DriverError) as error:
        return skipped(f"the canary could not fly: {error}")
    proxies = {item.pid for item in sighting.after.registrations}
    looping = [event for event in sighting.others if event.pid in proxies and event.verdict is Verdict.REDIRECT]
    if looping:
        return fail(
            f"connections of the proxy itself (process {looping[0].pid}) were redirected to it",
            "connections hang and pile up", "stop the proxy (everything then goes direct) and report this",
        )  # fmt: skip
    dialled = sighting.grown(Reason.OWN_PROCESS) + sighting.grown(Reason.ALREADY_REDIRECTED)
    if not dialled:
        return skipped("the proxy dialled nobody for the canary, so there was nothing to loop")
    return ok(f"the proxy dialled out {dialled} times, and the driver let it pass")


CHECK = Check("R6", "loop safety", Need.DRIVER, look)
