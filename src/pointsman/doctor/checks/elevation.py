"""P3: may this console see and change everything?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import NONE, Finding, ok, warn
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    if scene.host.is_elevated():
        return ok("an administrator's console")
    return warn(
        "not elevated: some checks are left out", NONE, "run it in a console started with `Run as administrator`"
    )


CHECK = Check("P3", "administrator", Need.WINDOWS, look)
