"""What Windows tells of processes: implements `system.interface.Processes`.

Decides who is a process's parent: Windows gives the number of the process that made it, which may have ended and its
number have gone to another.  A parent is older than its child, so what began later is none ("GetProcessTimes",
windows-user-space.md 5.1).  An open handle keeps the number from being given away while we look.

By ctypes rather than psutil, which has no creation time as exact as the driver's, opens every service to list them,
and finds no path where Wine runs our tests.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

from pointsman.system.windows import _kernel32_processes as api
from pointsman.system.windows._kernel32 import CloseHandle
from pointsman.system.windows._library import DWORD, Win32Error
from pointsman.system.windows.accounts import Accounts
from pointsman.system.windows.service_processes import ServiceProcesses
from pointsman.wire.process_facts import ProcessFacts

MAX_ANCESTORS = 16
MAX_PROCESSES = 16384
MAX_PATH = 32768  # characters, the longest that NT knows
ERROR_ACCESS_DENIED = 5


class WindowsProcesses:
    """A call opens a handful of handles and closes them; nothing stays open."""

    sees_tokens = True

    def __init__(self, services: ServiceProcesses | None = None) -> None:
        self._accounts = Accounts()
        self._services = services or ServiceProcesses()

    def facts(self, pid: int) -> ProcessFacts | None:
        """What we may not look at is empty."""
        try:
            with opened(pid) as process:
                start = started(process)
                users = self._accounts.of_process(process)
                ancestors = tuple(_ancestors(process, start))
        except Win32Error as error:
            return ProcessFacts() if error.code == ERROR_ACCESS_DENIED else None
        return ProcessFacts(ancestors, users, self._services.of(pid, start))

    def image(self, pid: int, start: int) -> str | None:
        with contextlib.suppress(Win32Error), opened(pid) as process:
            if start in (0, started(process)):
                return image_of(process)
        return None

    def running(self) -> frozenset[str]:
        found = set()
        for pid in _process_ids():
            with contextlib.suppress(Win32Error), opened(pid) as process:
                found.add(image_of(process))
        return frozenset(found)

    def sid_of(self, user: str) -> str | None:
        return self._accounts.sid_of(user)


@contextlib.contextmanager
def opened(pid: int) -> Iterator[int]:
    """A handle that may ask for path, times and token.  Raises Win32Error: 87 there is none, 5 we may not."""
    handle: int = api.OpenProcess(api.PROCESS_QUERY_LIMITED_INFORMATION, 0, pid)
    try:
        yield handle
    finally:
        with contextlib.suppress(Win32Error):
            CloseHandle(handle)


def started(process: int) -> int:
    """100 ns since 1601, to the last digit what the driver says."""
    creation, *others = (ctypes.c_uint64() for _ in range(4))
    api.GetProcessTimes(process, ctypes.byref(creation), *map(ctypes.byref, others))
    return creation.value


def image_of(process: int) -> str:
    """The full path of its program, as Explorer shows it.  Raises Win32Error for one that has none (System)."""
    buffer = (ctypes.c_uint16 * MAX_PATH)()
    size = DWORD(MAX_PATH)
    api.QueryFullProcessImageNameW(process, 0, buffer, ctypes.byref(size))
    return ctypes.string_at(buffer, 2 * min(size.value, MAX_PATH)).decode("utf-16-le", "surrogatepass")


def _ancestors(process: int, start: int) -> Iterator[str]:
    """Paths, the parent's first; ends where one has ended or may not be opened."""
    with contextlib.suppress(Win32Error):
        pid, born = _parent_id(process), start
        for _ in range(MAX_ANCESTORS):
            with opened(pid) as parent:
                begun = started(parent)
                if begun > born:
                    return  # the parent has ended, and its number is another's
                with contextlib.suppress(Win32Error):
                    yield image_of(parent)
                pid, born = _parent_id(parent), begun


def _parent_id(process: int) -> int:
    basic = api.PROCESS_BASIC_INFORMATION()
    api.NtQueryInformationProcess(
        process, api.PROCESS_BASIC_INFORMATION_CLASS, ctypes.byref(basic), ctypes.sizeof(basic), None
    )
    return int(basic.InheritedFromUniqueProcessId) & 0xFFFF_FFFF


def _process_ids() -> list[int]:
    ids = (ctypes.c_uint32 * MAX_PROCESSES)()
    written = DWORD()
    try:
        api.K32EnumProcesses(ids, ctypes.sizeof(ids), ctypes.byref(written))
    except Win32Error:
        return []
    return list(ids[: written.value // ctypes.sizeof(ctypes.c_uint32)])
