"""T2: is our root valid by this machine's clock?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped, warn
from pointsman.doctor.root import load_root
from pointsman.doctor.scene import Scene

SOON = timedelta(days=30)


def look(scene: Scene) -> Finding:
    root = load_root(scene)
    if root is None:
        return skipped("there is no root yet")
    now = datetime.now(UTC)
    seen = f"valid {root.not_valid_before_utc:%Y-%m-%d} to {root.not_valid_after_utc:%Y-%m-%d}"
    if now < root.not_valid_before_utc:
        return fail(f"{seen}: the clock says {now:%Y-%m-%d}", "inspected TLS connections fail", "set the clock (N3)")
    if now >= root.not_valid_after_utc:
        return fail(seen, "inspected TLS connections fail", "make a new root: pointsman ca")
    if root.not_valid_after_utc - now < SOON:
        return warn(seen, "none yet", "make a new root before it ends: pointsman ca")
    return ok(seen)


CHECK = Check("T2", "root valid", Need.NOTHING, look)
