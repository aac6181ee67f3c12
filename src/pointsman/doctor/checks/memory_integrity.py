"""S4: memory integrity (HVCI), which narrows what loads."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.system.host import CodeIntegrity


def look(scene: Scene) -> Finding:
    options = scene.host.code_integrity()
    if options is None:
        return skipped("this system does not say")
    if not options & CodeIntegrity.MEMORY_INTEGRITY:
        return ok("off")
    file = scene.driver.file
    if file is not None and file.image.writable_code:
        return fail(
            "on, and the driver file has code that can be written", DIRECT, "install an unchanged release of the driver"
        )
    return ok("on; nothing in the driver file stands against it")


CHECK = Check("S4", "memory integrity", Need.WINDOWS, look)
