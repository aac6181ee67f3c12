"""T4: is our root's key for nobody else?"""

from __future__ import annotations

import stat
import sys

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.system.windows.key_protection import MAGIC


def look(scene: Scene) -> Finding:
    key = scene.ca_dir / "root-key.pem"
    try:
        mode = key.stat().st_mode
    except OSError:
        return skipped("there is no key, or not for us to see")
    if sys.platform == "win32":
        if key.read_bytes().startswith(MAGIC):
            return ok("wrapped by DPAPI")
        return fail(f"{key} is not wrapped", "who copies it can impersonate any site", "pointsman ca rotate")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return fail(f"{key} has mode {stat.S_IMODE(mode):04o}", "others could impersonate any site", f"chmod 600 {key}")
    return ok("readable by its owner only")


CHECK = Check("T4", "key protected", Need.NOTHING, look)
