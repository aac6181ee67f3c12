"""P5: has this machine crashed since the driver was installed?"""

from __future__ import annotations

from datetime import UTC, datetime

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import NONE, Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    if scene.driver.path is None or scene.driver.file is None:
        return skipped("the driver is not installed")
    root = scene.host.system_root
    try:
        installed = scene.driver.path.stat().st_mtime
        dumps = [root / "MEMORY.DMP", *(root / "Minidump").glob("*.dmp")]
        newer = [dump for dump in dumps if dump.is_file() and dump.stat().st_mtime > installed]
    except OSError as error:
        return skipped(f"dumps cannot be looked at: {error.strerror}")
    if newer:
        latest = max(newer, key=lambda dump: dump.stat().st_mtime)
        when = datetime.fromtimestamp(latest.stat().st_mtime, UTC)
        return warn(
            f"{latest} of {when:%Y-%m-%d %H:%M} UTC is newer than the driver", NONE,
            "look into it (`!analyze -v` in WinDbg) and report it if it names pointsman.sys",
        )  # fmt: skip
    return ok("no crash dump since the driver was installed")


CHECK = Check("P5", "crashes", Need.WINDOWS, look)
