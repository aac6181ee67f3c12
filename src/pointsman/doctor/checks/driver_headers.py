"""D4: can the kernel load the file, by its headers?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    file = scene.driver.file
    if file is None:
        return skipped("there is no driver file (D1)")
    image = file.image
    wrong = [
        text
        for text, bad in (
            ("without FORCE_INTEGRITY process notifications are refused", not image.force_integrity),
            ("not marked NX", not image.nx_compatible),
            ("a section that is writable and executable", image.writable_code),
        )
        if bad
    ]
    if wrong:
        return fail("; ".join(wrong), DIRECT, "install an unchanged release: pointsman driver upgrade")
    return ok("native, NX, FORCE_INTEGRITY, no writable code")


CHECK = Check("D4", "driver headers", Need.WINDOWS, look)
