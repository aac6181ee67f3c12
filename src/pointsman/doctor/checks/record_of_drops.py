"""W9: does Windows record which connections its filters drop?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import NONE, Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    try:
        objects = scene.host.wfp_objects()
        try:
            collects = objects.collects_net_events()
        finally:
            objects.close()
    except OSError as error:
        return skipped(f"cannot be asked: {error.strerror}")
    if not collects:
        return warn(
            "Windows does not record which connections its filters drop; we never change that setting", NONE,
            "to find out who blocks a connection: netsh wfp set options netevents=on",
        )  # fmt: skip
    return ok("Windows records which connections its filters drop (its default; we never change it)")


CHECK = Check("W9", "record of drops", Need.WINDOWS, look)
