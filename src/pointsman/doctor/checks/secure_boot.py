"""S1: Secure Boot, which excludes a test-signed driver."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, skipped
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    state = scene.host.secure_boot()
    if state is None:
        return skipped("this system does not say (no UEFI?)")
    return ok("on: only drivers with a Microsoft signature load" if state else "off")


CHECK = Check("S1", "Secure Boot", Need.WINDOWS, look)
