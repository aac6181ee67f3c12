"""S6: Microsoft's list of vulnerable drivers.  Told, never advised against."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok
from pointsman.doctor.scene import Scene

KEY = r"SYSTEM\CurrentControlSet\Control\CI\Config"


def look(scene: Scene) -> Finding:
    value = scene.host.registry(KEY, "VulnerableDriverBlocklistEnable")
    return ok("not configured: Windows' default" if value is None else "on" if value else "switched off by someone")


CHECK = Check("S6", "driver blocklist", Need.WINDOWS, look)
