"""S4, S5: memory integrity (HVCI) and a WHQL-only policy, which narrow what loads."""

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


def look_whql(scene: Scene) -> Finding:
    options = scene.host.code_integrity()
    if options is None:
        return skipped("this system does not say")
    return ok("only WHQL-signed drivers load" if options & CodeIntegrity.WHQL_ONLY else "no such policy")


CHECK = Check("S4", "memory integrity", Need.WINDOWS, look)
WHQL_ONLY = Check("S5", "WHQL-only policy", Need.WINDOWS, look_whql)
