"""T1, T2, T4: our root: trusted by this machine, valid, and its key for nobody else."""

from __future__ import annotations

import stat
import sys
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.system.windows.key_protection import MAGIC

STORE = r"SOFTWARE\Microsoft\SystemCertificates"
SOON = timedelta(days=30)


def look_trusted(scene: Scene) -> Finding:
    root = _root(scene)
    if root is None:
        return skipped("there is no root yet: the first run of the proxy makes it")
    thumbprint = root.fingerprint(hashes.SHA1()).hex().upper()
    if scene.host.registry(rf"{STORE}\Disallowed\Certificates\{thumbprint}", "Blob") is not None:
        return fail(f"{thumbprint} is distrusted here", "inspected TLS connections fail", "remove it from `Untrusted`")
    if scene.host.registry(rf"{STORE}\ROOT\Certificates\{thumbprint}", "Blob") is None:
        return warn(
            f"{thumbprint} is not among the machine's trusted roots",
            "apps refuse inspected connections; after the first refusal they are relayed", "pointsman ca install",
        )  # fmt: skip
    return ok(f"{thumbprint} is trusted by this machine")


def look_valid(scene: Scene) -> Finding:
    root = _root(scene)
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


def look_key(scene: Scene) -> Finding:
    key = scene.ca_dir / "root-key.pem"
    try:
        mode = key.stat().st_mode
    except OSError:
        return skipped("there is no key, or not for us to see")
    if sys.platform == "win32":
        if key.read_bytes().startswith(MAGIC):
            return ok("wrapped by DPAPI")
        return fail(f"{key} is not wrapped", "who copies it can impersonate any site", "pointsman ca rotate")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return fail(f"{key} has mode {stat.S_IMODE(mode):04o}", "others could impersonate any site", f"chmod 600 {key}")
    return ok("readable by its owner only")


def _root(scene: Scene) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate((scene.ca_dir / "root.pem").read_bytes())
    except (OSError, ValueError):
        return None


TRUSTED = Check("T1", "root trusted", Need.WINDOWS, look_trusted)
VALID = Check("T2", "root valid", Need.NOTHING, look_valid)
KEY = Check("T4", "key protected", Need.NOTHING, look_key)
