"""D8: has the kernel loaded our file, or another of its name?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.operate.driver_control import SERVICE
from pointsman.operate.image_path import same_path
from pointsman.operate.placement import FILE_NAME


def look(scene: Scene) -> Finding:
    modules = scene.host.loaded_modules()
    if modules is None:
        return skipped("this system does not list its modules to us")
    ours = [path for path in modules if path.lower().rsplit("\\", 1)[-1] == FILE_NAME]
    if not ours:
        return skipped(f"no {FILE_NAME} among {len(modules)} modules (D7 says whether it should be)")
    installed = scene.driver.path
    if installed is None or not same_path(ours[0], str(installed), SERVICE, scene.host.system_root):
        return warn(
            f"{ours[0]} is loaded, {installed or 'none'} is installed", "the loaded driver decides",
            "restart Windows; then the installed one is loaded",
        )  # fmt: skip
    return ok(ours[0])


CHECK = Check("D8", "image loaded", Need.WINDOWS, look)
