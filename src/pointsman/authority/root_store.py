"""Keep the root on disk: load it, or make it on the first run.

The one disk user below the edge.  `root-key.pem` (0600) holds key and certificate together, so that one link puts
both in place and no crash, and no second proxy started at the same moment, can leave a key without its
certificate.  `root.pem` is the public certificate, a copy for those who are to trust it.  The key is never logged and
never in a message.
"""

from __future__ import annotations

import os
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from pointsman.authority.issue import Root, issue_root
from pointsman.errors import Exit, PointsmanError

_EXPOSED = stat.S_IRWXG | stat.S_IRWXO


def root_path(ca_dir: Path) -> Path:
    """The public certificate."""
    return ca_dir / "root.pem"


def key_path(ca_dir: Path) -> Path:
    return ca_dir / "root-key.pem"


def load_or_create_root(ca_dir: Path) -> Root:
    """Raises PointsmanError PM451 if the directory or what is in it cannot be used; it never replaces a key."""
    try:
        ca_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not key_path(ca_dir).exists():
            _create(ca_dir)
        root = _load(key_path(ca_dir))
        _publish(root, root_path(ca_dir))
    except OSError as error:
        raise _unusable(ca_dir, f"{error.filename or ca_dir}: {error.strerror or error}") from error
    if root.certificate.not_valid_after_utc <= datetime.now(UTC):
        raise _unusable(ca_dir, f"the root expired on {root.certificate.not_valid_after_utc:%Y-%m-%d}")
    return root


def _create(ca_dir: Path) -> None:
    root = issue_root(generate_private_key(SECP256R1()), now=datetime.now(UTC), serial=x509.random_serial_number())
    key = root.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    written = _write_aside(ca_dir, key + root.certificate.public_bytes(serialization.Encoding.PEM))
    try:
        os.link(written, key_path(ca_dir))
    except FileExistsError:
        pass  # another proxy was faster; its root is as good
    finally:
        written.unlink()


def _load(path: Path) -> Root:
    if os.name == "posix" and path.stat().st_mode & _EXPOSED:
        raise _unusable(path.parent, f"{path} can be read by others (mode {path.stat().st_mode & 0o777:04o}, not 0600)")
    pem = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError):  # their messages may quote the file
        raise _unusable(path.parent, f"{path} does not hold a key and a certificate in PEM") from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise _unusable(path.parent, f"{path}: key and certificate do not belong together")
    return Root(certificate, key)


def _publish(root: Root, path: Path) -> None:
    pem = root.certificate.public_bytes(serialization.Encoding.PEM)
    if path.exists() and path.read_bytes() == pem:
        return
    written = _write_aside(path.parent, pem)
    written.chmod(0o644)
    written.replace(path)


def _write_aside(directory: Path, data: bytes) -> Path:
    """A new private file beside the one it is to become; mkstemp makes it 0600."""
    handle, name = tempfile.mkstemp(dir=directory, prefix=".new-")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def _unusable(ca_dir: Path, seen: str) -> PointsmanError:
    return PointsmanError(
        "cannot use the certificate authority",
        code="PM451",
        seen=seen,
        effect="the proxy does not start; nothing is intercepted (fail open)",
        do=f"mend it, or move {ca_dir} away to get a new root, which apps must then be told to trust",
        status=Exit.BAD_FILE,
    )
