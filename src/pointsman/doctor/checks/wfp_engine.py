"""W2: can the filter engine be opened?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    try:
        scene.host.wfp_objects().close()
    except OSError as error:
        return fail(f"{error.strerror}", DIRECT, "start BFE (W1); if it runs, restart Windows")
    return ok("opens")


CHECK = Check("W2", "filter engine", Need.WINDOWS, look)
