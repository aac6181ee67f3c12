"""D1: is the file there that the service names?  One that vanished was often taken by a security product."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    state = scene.driver
    if state.path is None:
        return skipped("there is no service that names a file (D5)")
    if state.file is None:
        return fail(
            f"{state.file_problem}", DIRECT,
            "look into the quarantine of the security product, then: pointsman driver install",
        )  # fmt: skip
    return ok(f"{state.path}, {len(state.file.data):,} bytes, version {state.file.version}")


CHECK = Check("D1", "driver file", Need.WINDOWS, look)
