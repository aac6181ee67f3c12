"""W4: four callouts with a function behind each."""

from __future__ import annotations

from pointsman.doctor.driver_state import runs
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.wire import guids

CALLOUTS = {
    "redirect IPv4": guids.CALLOUT_CONNECT_REDIRECT_V4,
    "redirect IPv6": guids.CALLOUT_CONNECT_REDIRECT_V6,
    "block IPv4": guids.CALLOUT_AUTH_CONNECT_V4,
    "block IPv6": guids.CALLOUT_AUTH_CONNECT_V6,
}


def look(scene: Scene) -> Finding:
    if not runs(scene):
        return skipped("the driver does not run (D7)")
    try:
        objects = scene.host.wfp_objects()
        try:
            found = {name: objects.callout(key) for name, key in CALLOUTS.items()}
        finally:
            objects.close()
    except OSError as error:
        return skipped(f"cannot be asked: {error.strerror}")
    dead = [name for name, callout in found.items() if callout is None or not callout.registered]
    if dead:
        return fail(f"no function behind: {', '.join(dead)}", DIRECT, "restart the driver; D11 says why it is so")
    return ok("4 of 4 are registered")


CHECK = Check("W4", "callouts", Need.WINDOWS, look)
