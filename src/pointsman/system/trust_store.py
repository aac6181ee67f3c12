"""The roots that this system's programs trust.

Windows has one store for the machine; a Linux distribution has a directory of local roots and a command that makes its
bundle from them.
"""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

COMMAND_TIMEOUT = 120.0  # seconds


class TrustStore(Protocol):
    @property
    def name(self) -> str:
        """For people."""

    def add(self, der: bytes) -> None:
        """Adding twice is harmless.  Raises OSError (PermissionError if this user may not)."""

    def has(self, sha1: str) -> bool:
        """`sha1`: of the certificate, lower-case hexadecimal.  Raises OSError."""

    def remove(self, sha1: str) -> bool:
        """False if it was not there.  Raises OSError."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """Where a Linux distribution keeps local roots (update-ca-certificates(8), update-ca-trust(8))."""

    directory: Path
    suffix: str
    command: tuple[str, ...]


KNOWN = (
    Anchors(Path("/usr/local/share/ca-certificates"), ".crt", ("update-ca-certificates",)),  # Debian, Alpine, openSUSE
    Anchors(Path("/etc/pki/ca-trust/source/anchors"), ".pem", ("update-ca-trust", "extract")),  # Fedora, RHEL
    Anchors(Path("/etc/ca-certificates/trust-source/anchors"), ".pem", ("update-ca-trust", "extract")),  # Arch
)


class LinuxTrustStore:
    """Implements `TrustStore`."""

    def __init__(self, anchors: Anchors) -> None:
        self._anchors = anchors

    @property
    def name(self) -> str:
        return f"the system's roots ({self._anchors.directory}, {self._anchors.command[0]})"

    def add(self, der: bytes) -> None:
        path = self._path(hashlib.sha1(der).hexdigest())  # a name
        pem = ssl.DER_cert_to_PEM_cert(der)
        if not path.exists() or path.read_text() != pem:
            self._anchors.directory.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(".new")
            aside.write_text(pem)
            aside.chmod(0o644)
            aside.replace(path)
        self._update()

    def has(self, sha1: str) -> bool:
        return self._path(sha1).exists()

    def remove(self, sha1: str) -> bool:
        path = self._path(sha1)
        if not path.exists():
            return False
        path.unlink()
        self._update()
        return True

    def _path(self, sha1: str) -> Path:
        return self._anchors.directory / f"pointsman-{sha1}{self._anchors.suffix}"

    def _update(self) -> None:
        try:
            subprocess.run(self._anchors.command, check=True, capture_output=True, text=True, timeout=COMMAND_TIMEOUT)
        except subprocess.CalledProcessError as error:
            raise OSError(0, f"{self._anchors.command[0]}: {error.stderr.strip()[:500]}") from error
        except subprocess.TimeoutExpired as error:
            raise OSError(0, f"{self._anchors.command[0]} did not end within {COMMAND_TIMEOUT:g} s") from error


def trust_store(known: Sequence[Anchors] = KNOWN) -> TrustStore | None:
    """None: this system has none that we know."""
    if sys.platform == "win32":
        from pointsman.system.windows.trust_store import WindowsTrustStore

        return WindowsTrustStore()
    return next((LinuxTrustStore(anchors) for anchors in known if shutil.which(anchors.command[0])), None)
