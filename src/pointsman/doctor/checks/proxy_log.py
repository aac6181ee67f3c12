"""L3: can the service's log be written?"""

from __future__ import annotations

import os

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.operate.proxy_service import log_path


def look(scene: Scene) -> Finding:
    path = log_path(scene.host)
    folder = path if path.exists() else path.parent
    if not folder.exists():
        return skipped(f"{path.parent} does not exist yet")
    if not os.access(folder, os.W_OK):
        return warn(
            f"{folder} cannot be written", "none; what happens is not recorded", "give SYSTEM write access to it"
        )
    size = path.stat().st_size if path.exists() else 0
    return ok(f"{path}, {size:,} bytes")


CHECK = Check("L3", "log", Need.WINDOWS, look)
