"""D5: the driver's entry in the service manager."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, warn
from pointsman.doctor.scene import Scene
from pointsman.system.services import StartType


def look(scene: Scene) -> Finding:
    service = scene.driver.service
    if service is None:
        return fail("there is no service `pointsman`", DIRECT, "pointsman driver install")
    if not service.kernel_driver:
        return fail("the service `pointsman` is a program", DIRECT, "remove it (sc delete pointsman), install ours")
    if service.start == StartType.DISABLED:
        return fail("the service is disabled", DIRECT, "pointsman driver install sets it right")
    if service.start != StartType.DEMAND:
        return warn(
            f"start type {service.start.name.lower()}, not on demand", "none: without a proxy all passes",
            "pointsman driver install sets it right",
        )  # fmt: skip
    return ok(f"on demand, {service.image}")


CHECK = Check("D5", "driver service", Need.WINDOWS, look)
