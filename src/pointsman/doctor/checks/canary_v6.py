"""R5b: the same over IPv6."""

from __future__ import annotations

from pointsman.doctor.canary import TARGET_V6
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding
from pointsman.doctor.flight import redirected
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    return redirected(scene, TARGET_V6)


CHECK = Check("R5b", "canary IPv6", Need.DRIVER, look)
