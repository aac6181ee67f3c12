"""A double of a Windows machine: the seam `system.host` in memory, files in a folder of the test.

`FakeServices` keeps services as Windows does; a contract test runs the same cases against it and, under Wine, against
a real service manager.  What Wine cannot be made to do (a blocked driver, a stop that stays pending, a console without
rights) a test sets here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from pointsman.system.host import (
    Callout,
    ChainVerdict,
    CodeIntegrity,
    InstalledFilter,
    Listener,
    LogEvent,
    Sublayer,
    Value,
    WindowsBuild,
)
from pointsman.system.services import DriverService, ProgramService, ServiceState, ServiceStatus
from pointsman.system.windows.service_errors import service_error, still_pending
from pointsman.wire import guids

MACHINE_AMD64 = 0x8664
EXISTS_NOT, NOT_ACTIVE, MARKED_FOR_DELETE = 1060, 1062, 1072


@dataclass(slots=True)
class FakeEntry:
    service: DriverService | ProgramService
    status: ServiceStatus
    deleted: bool = False
    """Marked: the entry goes when it has stopped and nobody holds it."""


class FakeServices:
    """Implements `services.Services`, and is its own handle."""

    def __init__(self) -> None:
        self.entries: dict[str, FakeEntry] = {}
        self.start_error: dict[str, int] = {}
        """Windows error of the next starts, by service."""
        self.held = False
        """A program has the services (or their device) open: a stop stays pending, a deleted entry stays."""
        self.on_start: Callable[[str], None] = lambda _name: None
        self.on_stop: Callable[[str], None] = lambda _name: None
        self.other_drivers: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def install(self, service: DriverService | ProgramService) -> bool:
        entry = self.entries.get(service.name)
        if entry is not None and entry.deleted:
            raise service_error("cannot create the service", MARKED_FOR_DELETE, service.name)
        image = service.image if isinstance(service, DriverService) else service.command
        if entry is None:
            status = ServiceStatus(ServiceState.STOPPED, 0, image, isinstance(service, DriverService))
            self.entries[service.name] = FakeEntry(service, status)
            return True
        entry.service, entry.status = service, replace(entry.status, image=image)
        return False

    def start(self, name: str) -> bool:
        entry = self._entry(name, "cannot start the service")
        if entry.status.state == ServiceState.RUNNING:
            return False
        if entry.deleted:
            raise service_error("cannot start the service", MARKED_FOR_DELETE, name)
        if name in self.start_error:
            raise service_error("cannot start the service", self.start_error[name], name)
        entry.status = replace(entry.status, state=ServiceState.RUNNING, pid=0 if entry.status.kernel_driver else 4242)
        self.on_start(name)
        return True

    def stop(self, name: str) -> bool:
        entry = self._entry(name, "cannot stop the service")
        if entry.status.state == ServiceState.STOPPED:
            return False
        if self.held:
            entry.status = replace(entry.status, state=ServiceState.STOP_PENDING)
            raise still_pending("cannot stop the service", name, 30)
        entry.status = replace(entry.status, state=ServiceState.STOPPED, pid=0)
        if entry.deleted:
            del self.entries[name]
        self.on_stop(name)
        return True

    def delete(self, name: str) -> bool:
        entry = self.entries.get(name)
        if entry is None:
            return False
        if entry.deleted:
            raise service_error("cannot delete the service", MARKED_FOR_DELETE, name)
        if self.held or entry.status.state != ServiceState.STOPPED:
            entry.deleted = True
        else:
            del self.entries[name]
        return True

    def query(self, name: str) -> ServiceStatus | None:
        entry = self.entries.get(name)
        return None if entry is None else entry.status

    def drivers(self) -> tuple[str, ...]:
        running = [
            name for name, entry in self.entries.items()
            if entry.status.kernel_driver and entry.status.state == ServiceState.RUNNING
        ]  # fmt: skip
        return (*running, *self.other_drivers)

    def _entry(self, name: str, what: str) -> FakeEntry:
        if name not in self.entries:
            raise service_error(what, EXISTS_NOT, name)
        return self.entries[name]


class FakeWfpObjects:
    """All of the driver's objects are there, until a test takes some away."""

    def __init__(self) -> None:
        self.providers = {guids.PROVIDER}
        self.sublayer_keys = {guids.SUBLAYER}
        self.present = [
            Callout(key, name, layer, guids.PROVIDER, True)
            for key, name, layer in (
                (guids.CALLOUT_CONNECT_REDIRECT_V4, "redirect v4", guids.LAYER_CONNECT_REDIRECT_V4),
                (guids.CALLOUT_CONNECT_REDIRECT_V6, "redirect v6", guids.LAYER_CONNECT_REDIRECT_V6),
                (guids.CALLOUT_AUTH_CONNECT_V4, "block v4", guids.LAYER_AUTH_CONNECT_V4),
                (guids.CALLOUT_AUTH_CONNECT_V6, "block v6", guids.LAYER_AUTH_CONNECT_V6),
            )
        ]
        self.installed: list[InstalledFilter] = []
        self.other_sublayers: list[Sublayer] = []
        self.net_events = True

    def has_provider(self, key: UUID) -> bool:
        return key in self.providers

    def has_sublayer(self, key: UUID) -> bool:
        return key in self.sublayer_keys

    def callout(self, key: UUID) -> Callout | None:
        return next((item for item in self.present if item.key == key), None)

    def callouts(self) -> Sequence[Callout]:
        return self.present

    def filters(self) -> Sequence[InstalledFilter]:
        return self.installed

    def sublayers(self) -> Sequence[Sublayer]:
        return [Sublayer(guids.SUBLAYER, "Pointsman", 0x8000), *self.other_sublayers]

    def collects_net_events(self) -> bool:
        return self.net_events

    def close(self) -> None: ...


class FakeHost:
    """Implements `host.Host`: a 64-bit Windows 11, an administrator's console, no Secure Boot, nothing installed."""

    def __init__(self, folder: Path) -> None:
        self.program_files = folder / "Program Files"
        self.program_data = folder / "ProgramData"
        self.system_root = folder / "Windows"
        self.service_manager = FakeServices()
        self.elevated = True
        self.native_machine = MACHINE_AMD64
        self.windows = WindowsBuild(10, 0, 22631, server=False)
        self.integrity: CodeIntegrity | None = CodeIntegrity.ENABLED
        self.secure: bool | None = False
        self.values: dict[tuple[str, str], Value] = {}
        self.signatures: dict[str, int] = {}
        """By file name; others are trusted."""
        self.modules: list[str] | None = []
        self.devices: dict[str, str] = {}
        self.sockets: list[Listener] | None = []
        self.processes: dict[int, int] = {}
        self.wfp: FakeWfpObjects | OSError = FakeWfpObjects()
        self.at_restart: list[Path] = []
        self.logs: dict[str, list[LogEvent] | OSError] = {}
        """By channel; the query is not played: what is here is what it finds."""
        self.chain_verdict: ChainVerdict | OSError = ChainVerdict(0, 0)
        self.writers: tuple[str, ...] | None = ()

    def services(self, *, create: bool = False) -> FakeServices:
        if create and not self.elevated:
            raise service_error("cannot reach the service manager", 5)
        return self.service_manager

    @contextlib.contextmanager
    def exclusively(self, name: str) -> Iterator[None]:
        del name  # one test, one process
        yield

    def is_elevated(self) -> bool:
        return self.elevated

    def build(self) -> WindowsBuild:
        return self.windows

    def machine(self) -> int:
        return self.native_machine

    def code_integrity(self) -> CodeIntegrity | None:
        return self.integrity

    def secure_boot(self) -> bool | None:
        return self.secure

    def registry(self, key: str, value: str) -> Value | None:
        return self.values.get((key.lower(), value.lower()))

    def registry_keys(self, key: str) -> tuple[str, ...]:
        prefix = key.lower() + "\\"
        below = {name[len(prefix) :].split("\\")[0] for name, _ in self.values if name.startswith(prefix)}
        return tuple(sorted(below))

    def signature(self, file: Path) -> int:
        return self.signatures.get(file.name, 0)

    def loaded_modules(self) -> Sequence[str] | None:
        return self.modules

    def device_target(self, name: str) -> str | None:
        return self.devices.get(name)

    def listeners(self) -> Sequence[Listener] | None:
        return self.sockets

    def process_start(self, pid: int) -> int | None:
        return self.processes.get(pid)

    def wfp_objects(self) -> FakeWfpObjects:
        if isinstance(self.wfp, OSError):
            raise self.wfp
        return self.wfp

    def log_events(self, channel: str, query: str) -> Sequence[LogEvent]:
        del query
        found = self.logs.get(channel, [])
        if isinstance(found, OSError):
            raise found
        return found

    def chain(self, leaf: bytes, host: str) -> ChainVerdict:
        del leaf, host
        if isinstance(self.chain_verdict, OSError):
            raise self.chain_verdict
        return self.chain_verdict

    def others_who_write(self, folder: Path) -> Sequence[str] | None:
        del folder
        return self.writers

    def delete_at_restart(self, file: Path) -> None:
        self.at_restart.append(file)

    def set_value(self, key: str, name: str, value: Value) -> None:
        self.values[key.lower(), name.lower()] = value
