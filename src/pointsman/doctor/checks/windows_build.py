"""P1: is this Windows new enough for the driver (its imports need 10 version 1809)?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok
from pointsman.doctor.scene import Scene
from pointsman.operate.image import MACHINE_ARM64

OLDEST, OLDEST_ARM64 = 17763, 22000  # Windows 10 1809 and Server 2019; Windows 11


def look(scene: Scene) -> Finding:
    build, machine = scene.host.build(), scene.host.machine()
    oldest = OLDEST_ARM64 if machine == MACHINE_ARM64 else OLDEST
    seen = f"Windows {build.major}.{build.minor} build {build.build}, {'server' if build.server else 'client'}"
    if build.build < oldest:
        return fail(f"{seen}; the driver needs build {oldest}", DIRECT, "update Windows")
    return ok(seen)


CHECK = Check("P1", "Windows build", Need.WINDOWS, look)
