"""Does the driver run?"""

from __future__ import annotations

from pointsman.doctor.scene import Scene
from pointsman.system.services import ServiceState


def runs(scene: Scene) -> bool:
    service = scene.driver.service
    return service is not None and service.state == ServiceState.RUNNING
