"""W1: the Base Filtering Engine, without which there is no WFP."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, warn
from pointsman.doctor.scene import Scene
from pointsman.system.services import ServiceState, StartType


def look(scene: Scene) -> Finding:
    service = scene.service("BFE")
    if service is None:
        return fail("there is no service BFE", DIRECT, "repair Windows (sfc /scannow): the filter engine is missing")
    if service.state != ServiceState.RUNNING:
        return fail(
            f"BFE is {service.state.name.lower()}", DIRECT,
            "sc config BFE start= auto, then net start BFE; a security tool or a debloat script has switched it off",
        )  # fmt: skip
    if service.start != StartType.AUTOMATIC:
        return warn(
            f"start type {service.start.name.lower()}", "none until the next restart", "sc config BFE start= auto"
        )
    return ok("runs, starts with Windows")


CHECK = Check("W1", "Base Filtering Engine", Need.WINDOWS, look)
