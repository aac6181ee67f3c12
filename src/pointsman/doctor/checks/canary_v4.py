"""R5: a canary over IPv4 proves that interception happens."""

from __future__ import annotations

from pointsman.doctor.canary import TARGET_V4
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding
from pointsman.doctor.flight import redirected
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    return redirected(scene, TARGET_V4)


CHECK = Check("R5", "canary IPv4", Need.DRIVER, look)
