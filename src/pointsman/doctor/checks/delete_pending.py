"""D6: is the driver's service marked for deletion?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, warn
from pointsman.doctor.scene import Scene
from pointsman.operate.driver_control import SERVICE


def look(scene: Scene) -> Finding:
    if scene.host.registry(rf"SYSTEM\CurrentControlSet\Services\{SERVICE}", "DeleteFlag"):
        return warn(
            "the service is marked for deletion", "the driver works until it stops, and cannot be started again",
            "close services.msc, Task Manager and other tools that look at services, or restart; then install again",
        )  # fmt: skip
    return ok("the service is not marked for deletion")


CHECK = Check("D6", "deletion pending", Need.WINDOWS, look)
