"""N3: is the clock where it can be?  Certificates, schedules and what was learned go by it; the lease does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

from pointsman.authority.issue import LEAF_LIFETIME
from pointsman.authority.root_store import root_path
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped, warn
from pointsman.doctor.scene import Scene

SLACK = timedelta(minutes=5)
EFFECT = "inspected TLS connections fail, here and to servers; the lease goes by another clock"
DO = "set the clock: w32tm /resync, or timedatectl on Linux"


def look(scene: Scene) -> Finding:
    now = scene.now()
    seen = f"{now:%Y-%m-%d %H:%M} UTC"
    try:
        root = x509.load_pem_x509_certificate(root_path(scene.ca_dir).read_bytes())
        written = datetime.fromtimestamp(root_path(scene.ca_dir).stat().st_mtime, UTC)
    except (OSError, ValueError):
        return skipped(f"{seen}; there is no root of ours to compare it with")
    if now < root.not_valid_before_utc:
        return fail(f"{seen}: before our root was made ({root.not_valid_before_utc:%Y-%m-%d %H:%M})", EFFECT, DO)
    if now >= root.not_valid_after_utc:
        return fail(f"{seen}: after the end of our root ({root.not_valid_after_utc:%Y-%m-%d})", EFFECT, DO)
    if now + SLACK < written:
        return warn(f"{seen}: it was set back, our root was written at {written:%Y-%m-%d %H:%M}", EFFECT, DO)
    until = min(now + LEAF_LIFETIME, root.not_valid_after_utc)
    return ok(f"{seen}; a certificate made now is valid until {until:%Y-%m-%d}")


CHECK = Check("N3", "clock", Need.NOTHING, look)
