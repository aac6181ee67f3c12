"""Services as values, and the seam to whoever keeps them: Windows' service control manager, or a double.

Decides nothing; `operate` says which services there should be.  Source of the numbers: winsvc.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Protocol, Self

from pointsman.errors import Exit, PointsmanError

STOP_PENDING = 0
"""`ServiceError.windows_code` of a stop that does not end: no call has failed."""


class ServiceError(PointsmanError):
    """What the service manager refused (PM205).  `windows_code` is its error: Win32, or an HRESULT as unsigned."""

    def __init__(self, what: str, *, seen: str, effect: str, do: str, windows_code: int) -> None:
        super().__init__(what, code="PM205", seen=seen, effect=effect, do=do, status=Exit.DRIVER_MISSING)
        self.windows_code = windows_code


class ServiceState(IntEnum):
    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4
    CONTINUE_PENDING = 5
    PAUSE_PENDING = 6
    PAUSED = 7


class StartType(IntEnum):
    BOOT = 0
    SYSTEM = 1
    AUTOMATIC = 2
    DEMAND = 3
    DISABLED = 4


@dataclass(frozen=True, slots=True)
class DriverService:
    """A kernel driver's service as it should be: started on demand, errors logged, boot goes on."""

    name: str
    image: str
    """Absolute path, or one from \\SystemRoot; never quoted, even with spaces, and without arguments."""
    display_name: str
    group: str | None = "NetworkProvider"
    dependencies: tuple[str, ...] = ("BFE",)


@dataclass(frozen=True, slots=True)
class ProgramService:
    """A service that is a program of its own, run as LocalSystem."""

    name: str
    command: str
    """A command line: the program's path in quotes, then arguments."""
    display_name: str
    description: str
    start: StartType = StartType.AUTOMATIC
    dependencies: tuple[str, ...] = ("BFE",)
    restart_after_ms: tuple[int, ...] = (5_000, 30_000, 600_000)
    """After the first, second and every further failure.  Longer than the driver's lease: apps go direct in between."""
    failures_forgotten_after_s: int = 900


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    state: ServiceState
    exit_code: int
    """Win32 code of the last start or stop, 0: none."""
    image: str
    kernel_driver: bool
    start: StartType = StartType.DEMAND
    pid: int = 0
    """0 for a driver, and for a program that does not run."""


class Services(Protocol):
    """An open service manager.  Every method raises PointsmanError (PM205)."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def install(self, service: DriverService | ProgramService) -> bool:
        """Create it, or make an existing one like it.  True if it was created."""

    def start(self, name: str) -> bool:
        """False if it ran already."""

    def stop(self, name: str) -> bool:
        """Returns once it has stopped.  False if it did not run."""

    def delete(self, name: str) -> bool:
        """False if there was none."""

    def query(self, name: str) -> ServiceStatus | None:
        """None if there is no such service."""

    def drivers(self) -> tuple[str, ...]:
        """The names of all driver services that run."""
