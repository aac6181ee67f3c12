"""The seam to what operating Pointsman asks of Windows: services, how it was booted, registry, files, WFP's objects.

The proxy itself needs none of this (`system.interface` is its seam).  `system.windows.host` implements it, and
`testing.host` is its double; on other systems there is none.  Nothing here waits for longer than a service takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Protocol
from uuid import UUID

from pointsman.system.services import Services

MAX_LOG_EVENTS = 64

Value = int | str | bytes | tuple[str, ...]
"""What the registry holds: DWORD or QWORD, (expandable) string, bytes, list of strings."""


class CodeIntegrity(IntFlag):
    """Options of SystemCodeIntegrityInformation (class 103)."""

    ENABLED = 0x1
    TEST_SIGNING = 0x2
    DEBUG_MODE = 0x80
    MEMORY_INTEGRITY = 0x400
    MEMORY_INTEGRITY_AUDIT = 0x800
    MEMORY_INTEGRITY_STRICT = 0x1000
    WHQL_ONLY = 0x4000


@dataclass(frozen=True, slots=True)
class WindowsBuild:
    major: int
    minor: int
    build: int
    server: bool


@dataclass(frozen=True, slots=True)
class Listener:
    address: IPv4Address | IPv6Address
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Callout:
    """A callout of the filter engine."""

    key: UUID
    name: str
    layer: UUID
    provider: UUID | None
    registered: bool
    """A driver has registered its function: the one proof that it is live."""


@dataclass(frozen=True, slots=True)
class InstalledFilter:
    """A filter of the filter engine at one of the four layers of our callouts, of whomever."""

    name: str
    layer: UUID
    sublayer: UUID
    provider: UUID | None
    callout: UUID | None
    """None: it permits or blocks by itself."""
    context: int
    """Raw; what it means is its callout's business."""
    permits_without_callout: bool
    """Its connections pass if nobody has registered the callout's function."""


@dataclass(frozen=True, slots=True)
class Sublayer:
    key: UUID
    name: str
    weight: int
    """Greater first."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An entry of one of Windows' event logs."""

    number: int
    time: str
    """ISO 8601, UTC."""
    text: str
    """Its data, not the sentence that Event Viewer makes of it: that needs the provider's own files."""


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """What the machine's own rules say of a certificate for a TLS server."""

    error: int
    """0: trusted; else an HRESULT as unsigned (CERT_CHAIN_POLICY_STATUS.dwError)."""
    status: int
    """CERT_TRUST_* bits of the chain (CERT_TRUST_STATUS.dwErrorStatus)."""


class WfpObjects(Protocol):
    """WFP's own objects by key.  Each raises OSError with the engine's error if it cannot be asked."""

    def has_provider(self, key: UUID) -> bool: ...

    def has_sublayer(self, key: UUID) -> bool: ...

    def callout(self, key: UUID) -> Callout | None: ...

    def callouts(self) -> Sequence[Callout]:
        """All that we may see, of whomever."""

    def filters(self) -> Sequence[InstalledFilter]:
        """All that we may see at the four layers of our callouts, of whomever."""

    def sublayers(self) -> Sequence[Sublayer]: ...

    def collects_net_events(self) -> bool:
        """The machine-wide option by which the engine records what was dropped."""

    def close(self) -> None: ...


class Host(Protocol):
    """One Windows machine.  What cannot be found out is None, and never an exception, unless it says so."""

    @property
    def program_files(self) -> Path:
        """Where programs live that only administrators may change."""

    @property
    def program_data(self) -> Path:
        """Where programs keep what belongs to the machine."""

    @property
    def system_root(self) -> Path: ...

    def services(self, *, create: bool = False) -> Services:
        """To be closed after use (`with`).  Raises PointsmanError."""

    def exclusively(self, name: str) -> AbstractContextManager[None]:
        """One process on this machine at a time.  Raises PointsmanError (PM214) if another takes too long."""

    def is_elevated(self) -> bool: ...

    def build(self) -> WindowsBuild: ...

    def machine(self) -> int:
        """IMAGE_FILE_MACHINE_* of the processor, also under emulation."""

    def code_integrity(self) -> CodeIntegrity | None: ...

    def secure_boot(self) -> bool | None: ...

    def registry(self, key: str, value: str) -> Value | None:
        """A value below HKEY_LOCAL_MACHINE."""

    def registry_keys(self, key: str) -> tuple[str, ...]:
        """The names of the keys directly below a key of HKEY_LOCAL_MACHINE."""

    def signature(self, file: Path) -> int:
        """What WinVerifyTrust says of a file's embedded signature: 0 trusted, else an HRESULT as unsigned."""

    def loaded_modules(self) -> Sequence[str] | None:
        """NT paths of what the kernel has loaded."""

    def device_target(self, name: str) -> str | None:
        """What `\\\\.\\name` stands for."""

    def listeners(self) -> Sequence[Listener] | None:
        """TCP sockets that listen, with their owners."""

    def process_start(self, pid: int) -> int | None:
        """When it began, in 100 ns since 1601; None if it is gone or hidden."""

    def wfp_objects(self) -> WfpObjects:
        """Raises OSError with the engine's error."""

    def log_events(self, channel: str, query: str) -> Sequence[LogEvent]:
        """Entries of an event log, newest first, MAX_LOG_EVENTS at most; `query` is XPath.

        Raises OSError: the log cannot be read (5: not for us; 15007: there is none of that name).
        """

    def chain(self, leaf: bytes, host: str) -> ChainVerdict:
        """Build the chain of a certificate (DER) for a TLS server of that name.  Raises OSError."""

    def others_who_write(self, folder: Path) -> Sequence[str] | None:
        """Who may change what is in a folder, besides SYSTEM, administrators and TrustedInstaller: names or SIDs.

        None: its access list cannot be read.
        """

    def delete_at_restart(self, file: Path) -> None:
        """Raises OSError."""
