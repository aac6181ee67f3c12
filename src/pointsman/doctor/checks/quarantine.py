"""S8: has Defender touched a file of ours?"""

from __future__ import annotations

from pointsman.doctor.event_logs import about_us, told, unreadable
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, warn
from pointsman.doctor.scene import Scene

DEFENDER = "Microsoft-Windows-Windows Defender/Operational"
QUARANTINE_EVENTS = {1116: "found", 1117: "acted on"}


def look(scene: Scene) -> Finding:
    try:
        found = about_us(scene, DEFENDER, QUARANTINE_EVENTS)
    except OSError as error:
        return unreadable(DEFENDER, error)
    if not found:
        return ok("Defender has not touched a file of ours in the last 24 hours")
    seen = f"Defender {told(found, QUARANTINE_EVENTS)}"
    do = "restore it in Windows Security (protection history), add an exclusion, then: pointsman driver install"
    if scene.driver.path is not None and scene.driver.file is None:
        return fail(seen, DIRECT, do)
    return warn(seen, "none yet: the driver's file is there", do)


CHECK = Check("S8", "quarantine", Need.WINDOWS, look)
