"""S2: test-signing, which a test-signed driver needs and no other."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import NONE, Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.system.host import CodeIntegrity


def look(scene: Scene) -> Finding:
    options = scene.host.code_integrity()
    if options is None:
        return skipped("this system does not say")
    if options & CodeIntegrity.TEST_SIGNING:
        outlook = scene.driver.forecast
        if outlook is not None and outlook.loads and outlook.signature.startswith("signed, and"):
            return warn("on, and the installed driver does not need it", NONE, "bcdedit /set testsigning off, restart")
        return ok("on")
    return ok("off: test-signed drivers do not load")


CHECK = Check("S2", "test-signing", Need.WINDOWS, look)
