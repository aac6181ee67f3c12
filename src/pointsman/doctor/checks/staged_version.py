"""D12: is the loaded driver the installed one?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.operate.driver_state import Loaded


def look(scene: Scene) -> Finding:
    state = scene.driver
    if not isinstance(state.loaded, Loaded) or state.file is None:
        return skipped("no driver is loaded, or none is installed")
    if state.restart_needed:
        return warn(
            f"{state.loaded.version} is loaded, {state.file.version} is installed",
            "the loaded driver goes on to work", "restart Windows: the new driver becomes active then",
        )  # fmt: skip
    return ok(f"{state.loaded.version} is loaded and installed")


CHECK = Check("D12", "loaded and installed version", Need.WINDOWS, look)
