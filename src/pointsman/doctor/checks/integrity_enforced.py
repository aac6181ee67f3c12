"""S3: does this Windows check drivers' signatures at all?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import NONE, Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.system.host import CodeIntegrity


def look(scene: Scene) -> Finding:
    options = scene.host.code_integrity()
    if options is None:
        return skipped("this system does not say")
    if not options & CodeIntegrity.ENABLED:
        return warn(
            "signatures are not checked: any driver loads", NONE, "bcdedit /deletevalue nointegritychecks, restart"
        )
    return ok("signatures are checked" + (", kernel debugging is on" if options & CodeIntegrity.DEBUG_MODE else ""))


CHECK = Check("S3", "signatures checked", Need.WINDOWS, look)
