"""Keep the root on disk: load it, make it on the first run, and replace it with an overlap.

`root-key.pem` holds key and certificate together, so that one link puts both in place and no crash, and no second
proxy started at the same moment, can leave a key without its certificate.  It is 0600, and wrapped by what the system
has for that (`KeyProtection`).  `root.pem` holds the public certificates that apps should trust now; while a rotation
is under way these are two.  `issued.json` remembers the fingerprint of every root that was made here, so that all of
them can be taken out of the stores again.  A key is never logged and never in a message.

    current ── start_rotation ──▶ current + next (both to be trusted; the current one signs)
            ◀─ finish_rotation ── the next one signs; the old one is still in `issued.json`
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from pointsman.authority.issue import ROOT_LIFETIME, Root, issue_root, permitted_names
from pointsman.errors import Exit, PointsmanError

Result = TypeVar("Result")
_EXPOSED = stat.S_IRWXG | stat.S_IRWXO
ISSUED_LIMIT = 100  # roots remembered; a rotation a month for eight years


class KeyProtection(Protocol):
    """What the system can do for a secret that lies on disk."""

    def protect_directory(self, directory: Path) -> None:
        """Called once, when it has been made.  Raises OSError."""

    def wrap(self, secret: bytes) -> bytes:
        """Raises OSError."""

    def unwrap(self, stored: bytes) -> bytes:
        """The inverse; what was never wrapped comes back as it is.  Raises OSError."""


class FileMode:
    """No more than 0600 and 0700, which `_create` and `_make_directory` see to."""

    def protect_directory(self, directory: Path) -> None: ...

    def wrap(self, secret: bytes) -> bytes:
        return secret

    def unwrap(self, stored: bytes) -> bytes:
        return stored


@dataclass(frozen=True, slots=True)
class Issued:
    """A root that was made here once."""

    sha1: str
    """Lower-case hexadecimal: what Windows' stores are searched by."""
    sha256: str
    subject: str
    until: str
    """ISO 8601, UTC."""


def root_path(ca_dir: Path) -> Path:
    """The public certificates."""
    return ca_dir / "root.pem"


def key_path(ca_dir: Path) -> Path:
    return ca_dir / "root-key.pem"


def next_path(ca_dir: Path) -> Path:
    return ca_dir / "next-key.pem"


def load_or_create_root(ca_dir: Path, protection: KeyProtection | None = None) -> Root:
    """Raises PointsmanError PM451 if the directory or what is in it cannot be used; it never replaces a key."""
    return _in(ca_dir, lambda: _load_or_create(ca_dir, protection or FileMode(), (), ROOT_LIFETIME))


def create_root(
    ca_dir: Path,
    protection: KeyProtection | None = None,
    *,
    permitted: tuple[str, ...] = (),
    lifetime: timedelta = ROOT_LIFETIME,
) -> Root:
    """Raises PointsmanError PM451: there is one already, or as `load_or_create_root`."""
    if key_path(ca_dir).exists():
        raise _unusable(ca_dir, f"{key_path(ca_dir)} is there already", do="`pointsman ca rotate` replaces it in use")
    return _in(ca_dir, lambda: _load_or_create(ca_dir, protection or FileMode(), permitted, lifetime))


def load_root(ca_dir: Path, protection: KeyProtection | None = None) -> Root:
    """Raises PointsmanError PM451, also if there is none."""
    return _in(ca_dir, lambda: _valid(ca_dir, _load(key_path(ca_dir), protection or FileMode())))


def next_root(ca_dir: Path, protection: KeyProtection | None = None) -> Root | None:
    """None: no rotation is under way.  Raises PointsmanError PM451."""
    return _in(ca_dir, lambda: _next(ca_dir, protection or FileMode()))


def start_rotation(
    ca_dir: Path, protection: KeyProtection | None = None, *, permitted: tuple[str, ...] | None = None
) -> tuple[Root, Root]:
    """Make the next root, if it is not there yet, and publish both.  Returns the current and the next one.

    Args:
        permitted: as for `issue_root`; None: as the current one.

    Raises:
        PointsmanError: PM451.
    """

    def start() -> tuple[Root, Root]:
        keys = protection or FileMode()
        current = _load(key_path(ca_dir), keys)
        if not next_path(ca_dir).exists():
            names = permitted_names(current) if permitted is None else permitted
            _create(next_path(ca_dir), keys, names, ROOT_LIFETIME)
        coming = _load(next_path(ca_dir), keys)
        _publish([current, coming], root_path(ca_dir))
        return current, coming

    return _in(ca_dir, start)


def finish_rotation(ca_dir: Path, protection: KeyProtection | None = None) -> Root:
    """The next root signs from the next start of a proxy on.  Raises PointsmanError PM451: none was begun."""
    if not next_path(ca_dir).exists():
        raise _unusable(ca_dir, "no rotation is under way", do="begin one: `pointsman ca rotate`")

    def finish() -> Root:
        coming = _load(next_path(ca_dir), protection or FileMode())
        next_path(ca_dir).replace(key_path(ca_dir))
        _publish([coming], root_path(ca_dir))
        return coming

    return _in(ca_dir, finish)


def issued_roots(ca_dir: Path) -> list[Issued]:
    """Oldest first.  Raises PointsmanError PM451 if the list cannot be read."""

    def read() -> list[Issued]:
        path = ca_dir / "issued.json"
        return [Issued(**entry) for entry in json.loads(path.read_bytes())] if path.exists() else []

    return _in(ca_dir, read)


def describe(certificate: x509.Certificate) -> Issued:
    return Issued(
        sha1=certificate.fingerprint(hashes.SHA1()).hex(),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        subject=certificate.subject.rfc4514_string(),
        until=certificate.not_valid_after_utc.isoformat(),
    )


def _in(ca_dir: Path, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except OSError as error:
        raise _unusable(ca_dir, f"{error.filename or ca_dir}: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        raise _unusable(ca_dir, str(error)) from None


def _load_or_create(ca_dir: Path, keys: KeyProtection, permitted: tuple[str, ...], lifetime: timedelta) -> Root:
    if not ca_dir.exists():
        ca_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys.protect_directory(ca_dir)
    if not key_path(ca_dir).exists():
        _create(key_path(ca_dir), keys, permitted, lifetime)
    root = _valid(ca_dir, _load(key_path(ca_dir), keys))
    coming = _next(ca_dir, keys)
    _publish([root] if coming is None else [root, coming], root_path(ca_dir))
    return root


def _next(ca_dir: Path, keys: KeyProtection) -> Root | None:
    return _load(next_path(ca_dir), keys) if next_path(ca_dir).exists() else None


def _valid(ca_dir: Path, root: Root) -> Root:
    if root.certificate.not_valid_after_utc <= datetime.now(UTC):
        raise _unusable(ca_dir, f"the root expired on {root.certificate.not_valid_after_utc:%Y-%m-%d}")
    return root


def _create(path: Path, keys: KeyProtection, permitted: tuple[str, ...], lifetime: timedelta) -> None:
    root = issue_root(
        generate_private_key(SECP256R1()), now=datetime.now(UTC), serial=x509.random_serial_number(),
        permitted=permitted, lifetime=lifetime,
    )  # fmt: skip
    key = root.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    written = _write_aside(path.parent, keys.wrap(key + root.certificate.public_bytes(serialization.Encoding.PEM)))
    try:
        os.link(written, path)
    except FileExistsError:
        pass  # another proxy was faster; its root is as good
    finally:
        written.unlink()


def _load(path: Path, keys: KeyProtection) -> Root:
    root = _read(path, keys)
    _remember(path.parent / "issued.json", describe(root.certificate))
    return root


def _remember(path: Path, root: Issued) -> None:
    """Whenever one is loaded, so that nobody can use one that is not on the list."""
    entries = json.loads(path.read_bytes()) if path.exists() else []
    if not any(entry["sha256"] == root.sha256 for entry in entries):
        entries = [*entries, asdict(root)][-ISSUED_LIMIT:]
        _write_aside(path.parent, json.dumps(entries, indent=1).encode() + b"\n").replace(path)


def _read(path: Path, keys: KeyProtection) -> Root:
    if os.name == "posix" and path.stat().st_mode & _EXPOSED:
        raise _unusable(path.parent, f"{path} can be read by others (mode {path.stat().st_mode & 0o777:04o}, not 0600)")
    pem = keys.unwrap(path.read_bytes())
    try:
        key = serialization.load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError):  # their messages may quote the file
        raise _unusable(path.parent, f"{path} does not hold a key and a certificate in PEM") from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise _unusable(path.parent, f"{path}: key and certificate do not belong together")
    return Root(certificate, key)


def _publish(roots: list[Root], path: Path) -> None:
    pem = b"".join(root.certificate.public_bytes(serialization.Encoding.PEM) for root in roots)
    if path.exists() and path.read_bytes() == pem:
        return
    written = _write_aside(path.parent, pem)
    written.chmod(0o644)
    written.replace(path)


def _write_aside(directory: Path, data: bytes) -> Path:
    """A new private file beside the one it is to become; mkstemp makes it 0600."""
    handle, name = tempfile.mkstemp(dir=directory, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # a full disk leaves nothing half-written behind
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    return Path(name)


def _unusable(ca_dir: Path, seen: str, do: str | None = None) -> PointsmanError:
    return PointsmanError(
        "cannot use the certificate authority",
        code="PM451",
        seen=seen,
        effect="nothing was changed; a proxy that needs it does not start, and connections go direct (fail open)",
        do=do or f"mend it, or move {ca_dir} away to get a new root, which apps must then be told to trust",
        status=Exit.BAD_FILE,
    )
