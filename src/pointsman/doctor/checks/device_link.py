"""D9: the name by which programs open the driver."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.system.services import ServiceState

NAME, TARGET = "Pointsman", r"\Device\Pointsman"


def look(scene: Scene) -> Finding:
    target = scene.host.device_target(NAME)
    if target is None:
        service = scene.driver.service
        if service is None or service.state != ServiceState.RUNNING:
            return skipped("the driver does not run (D7)")
        return fail(rf"\\.\{NAME} does not exist", DIRECT, "pointsman driver stop, then pointsman driver start")
    if target.lower() != TARGET.lower():
        return fail(rf"\\.\{NAME} leads to {target}", DIRECT, "another driver has taken our name: remove it")
    return ok(rf"\\.\{NAME} is {target}")


CHECK = Check("D9", "device name", Need.WINDOWS, look)
