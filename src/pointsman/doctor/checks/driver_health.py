"""D11: did all of the driver come up: process notification, redirect handle, callouts, WFP objects?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok
from pointsman.doctor.scene import Scene
from pointsman.wire.abi import State


def look(scene: Scene) -> Finding:
    status = scene.live
    parts = (
        (State.PROCESS_NOTIFY, "process notification", status.notify_status),
        (State.REDIRECT_HANDLE, "redirect handle", status.redirect_status),
        (State.CALLOUTS, "callouts", status.callout_status),
        (State.OBJECTS, "provider and sublayer", status.object_status),
    )
    missing = [f"{name} (status 0x{code:08X})" for flag, name, code in parts if not status.state & flag]
    if missing:
        return fail(
            f"missing: {', '.join(missing)}", DIRECT, "restart the driver; see `pointsman events` if it stays so"
        )
    return ok("process notification, redirect handle, callouts, provider and sublayer")


CHECK = Check("D11", "driver health", Need.DRIVER, look)
