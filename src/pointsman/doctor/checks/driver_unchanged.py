"""D2: is the file still the one that was installed?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.operate.placement import was_changed


def look(scene: Scene) -> Finding:
    state = scene.driver
    if state.path is None or state.file is None:
        return skipped("there is no driver file (D1)")
    changed = was_changed(state.path)
    if changed is None:
        return skipped(f"{state.path.parent} was not made by `pointsman driver install`")
    if changed:
        return fail(
            "the file was changed after it was installed", f"it will not start again; until then: {DIRECT}",
            "pointsman driver uninstall, then pointsman driver install",
        )  # fmt: skip
    return ok(f"SHA-256 {state.file.sha256[:16]}..., as installed")


CHECK = Check("D2", "driver file unchanged", Need.WINDOWS, look)
