"""D10: does the driver answer, and do we speak the same language?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok
from pointsman.doctor.scene import Scene
from pointsman.wire.abi import ABI_VERSION


def look(scene: Scene) -> Finding:
    version = scene.version
    if isinstance(version, str):
        return fail(version, DIRECT, "pointsman driver start, in an administrator's console")
    if version.abi != ABI_VERSION:
        return fail(
            f"the driver speaks ABI {version.abi} ({version.driver}), this pointsman ABI {ABI_VERSION}", DIRECT,
            "pointsman driver upgrade, then restart Windows",
        )  # fmt: skip
    return ok(f"pointsman.sys {version.driver}, ABI {version.abi}")


CHECK = Check("D10", "driver answers", Need.NOTHING, look)
