"""P2: is the installed driver for this machine's processor?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.operate.image import MACHINE_NAMES


def look(scene: Scene) -> Finding:
    machine = scene.host.machine()
    name = MACHINE_NAMES.get(machine, f"0x{machine:04X}")
    file = scene.driver.file
    if file is None:
        return skipped("there is no driver file to compare with")
    if machine and file.image.machine != machine:
        return fail(
            f"the driver is for {file.image.machine_name}, this machine is {name}", DIRECT,
            "install the release for this processor: pointsman driver upgrade",
        )  # fmt: skip
    return ok(f"driver and machine: {file.image.machine_name}")


CHECK = Check("P2", "processor", Need.WINDOWS, look)
