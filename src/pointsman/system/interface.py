"""The seams to the operating system: what only Windows, or the lab, can do for us.

Nothing above this file knows which system it runs on.  `pointsman.lab.system` implements these for the lab
(the driver on simwfp behind a Unix socket), `pointsman.system.windows` for Windows.  A call here blocks for well
under a millisecond; none waits for another proxy.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from pointsman.wire.filters import Filter, InstalledFilter, NativeFilter
from pointsman.wire.process_facts import ProcessFacts
from pointsman.wire.redirect_context import RedirectContext


class DriverError(Exception):
    """The driver refused an IOCTL.  `status` is the NTSTATUS (lab) or the Windows error it maps to."""

    def __init__(self, call: str, status: int) -> None:
        super().__init__(f"{call}: 0x{status:08X}")
        self.call = call
        self.status = status


class Driver(Protocol):
    """An open handle of the control device `\\\\.\\Pointsman`.  Closing it ends what was registered through it."""

    def control(self, code: int, request: bytes, reply_size: int) -> bytes:
        """Send one IOCTL.  Returns at most `reply_size` bytes; raises DriverError."""

    def close(self) -> None: ...


class FilterEngine(Protocol):
    """A dynamic session of the WFP filter engine: what it added is gone when it is closed or its process dies."""

    def replace(self, filters: Sequence[Filter]) -> None:
        """Swap all filters of this session for `filters`, in one transaction.

        Raises:
            DriverError: the engine refused one; the previous filters still stand.
        """

    def close(self) -> None: ...


class PersistentFilters(Protocol):
    """Filters that outlive every process of ours and every restart, until somebody removes them."""

    def replace(self, filters: Sequence[NativeFilter]) -> None:
        """Swap all of them in one transaction; an empty sequence removes what else we left there too.

        Raises:
            DriverError: the engine refused; what was installed still is.
            PointsmanError: PM206, the engine cannot be opened.
        """

    def installed(self) -> list[InstalledFilter]:
        """In the order in which they were given.  Raises as `replace`."""


class RedirectSource(Protocol):
    """Tells what a redirected connection was before it reached us."""

    def redirect_context(self, accepted: socket.socket) -> bytes | RedirectContext | None:
        """What our driver attached to an accepted connection, as bytes where it is the driver's; None if nobody
        redirected it."""

    def redirect_records(self, accepted: socket.socket) -> bytes:
        """WFP's opaque records of an accepted connection, for `apply_records`; may be empty."""

    def apply_records(self, upstream: socket.socket, records: bytes) -> None:
        """Mark a socket that is about to connect, so that WFP knows whose connection it carries on."""


class Processes(Protocol):
    """What the system tells of processes."""

    @property
    def sees_tokens(self) -> bool:
        """The filter engine can ask for a user or a service (ALE_USER_ID)."""

    def facts(self, pid: int) -> ProcessFacts | None:
        """Whose it is and where it comes from; None if it is gone."""

    def image(self, pid: int, start: int) -> str | None:
        """The full path of the program of a process, however long.

        `start`: when it began, 100 ns since 1601; 0 if nobody can tell.  None if that process is gone.
        """

    def running(self) -> frozenset[str]:
        """The full paths of all programs that run, as far as they can be seen."""

    def sid_of(self, user: str) -> str | None:
        """The SID of a user by name (`alice`, `domain\\alice`); None for nobody the system knows."""


Answer = Callable[[bytes], Awaitable[bytes]]
"""One request of the control channel to its reply; both are one line without its end."""

MAX_CONTROL_REQUEST = 64 * 1024  # bytes
MAX_CONTROL_REPLY = 4 * 1024 * 1024  # bytes


class ControlServer(Protocol):
    """An open control channel.  Closing twice is harmless."""

    async def close(self) -> None: ...


class ControlChannel(Protocol):
    """How a command on this machine talks to a running proxy: one request, one reply, then the connection is over.

    The operating system says who may: administrators and SYSTEM on Windows, the proxy's own user (and root) on Linux.
    Each proxy has a channel of its own, named by its PID, since two of them live during a hand-over.
    """

    async def serve(self, answer: Answer) -> ControlServer:
        """Answer for this process.  Raises OSError."""

    def peers(self) -> Sequence[int]:
        """The PIDs of proxies that may have a channel open, this process included; some may be gone already."""

    def ask(self, pid: int, request: bytes, timeout: float) -> bytes:
        """Blocks for `timeout` seconds at most.  Raises OSError (TimeoutError: it is there and does not answer)."""


class System(Protocol):
    """Everything of the operating system, chosen once in `cli/run.py` and handed down."""

    @property
    def redirects(self) -> RedirectSource: ...

    @property
    def processes(self) -> Processes: ...

    @property
    def persistent_filters(self) -> PersistentFilters: ...

    @property
    def control(self) -> ControlChannel: ...

    def open_driver(self) -> Driver: ...

    def open_filter_engine(self) -> FilterEngine: ...

    def app_id(self, path: str) -> bytes:
        """The WFP app id of a program: lower-case NT path, UTF-16LE, with its terminating NUL."""

    def image_path(self, app_id: bytes) -> str:
        """The path people know for an app id (with or without NUL): the inverse of `app_id`, but for letter case."""

    def close(self) -> None:
        """What this object itself holds open; drivers and filter engines are closed by whoever opened them."""
