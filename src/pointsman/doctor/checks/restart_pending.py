"""P4: does Windows wait for a restart, and is a file of ours what it waits for?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import NONE, Finding, ok, warn
from pointsman.doctor.scene import Scene

SESSION_MANAGER = r"SYSTEM\CurrentControlSet\Control\Session Manager"


def look(scene: Scene) -> Finding:
    pending = scene.host.registry(SESSION_MANAGER, "PendingFileRenameOperations")
    names = pending if isinstance(pending, tuple) else ()
    ours = [name for name in names if "pointsman" in name.lower()]
    if ours:
        return warn(
            f"{ours[0]} is removed at the next restart", NONE, "restart Windows to finish the update or removal"
        )
    return ok("no file of ours waits for a restart")


CHECK = Check("P4", "restart pending", Need.WINDOWS, look)
