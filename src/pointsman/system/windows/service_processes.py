"""Which Windows services run in which process, by the service manager; asked at most once a second.

A process that has begun after the last look is a reason to look again: its PID may have been another's.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable

from pointsman.system.windows import _advapi32 as services
from pointsman.system.windows._kernel32_processes import GetSystemTimeAsFileTime
from pointsman.system.windows._library import DWORD, Win32Error

FRESH = 1.0  # seconds
ROOM = 256 * 1024  # bytes, the most that one call fills (EnumServicesStatusExW, Win32 docs)
MAX_CALLS = 16  # of them for one look
ERROR_MORE_DATA = 234


def file_time() -> int:
    """Now, in 100 ns since 1601, as processes' times are."""
    now = ctypes.c_uint64()
    GetSystemTimeAsFileTime(ctypes.byref(now))
    return now.value


class ServiceProcesses:
    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], int] = file_time
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._taken = -FRESH
        self._taken_at = 0
        self._of_pid: dict[int, frozenset[str]] = {}

    def of(self, pid: int, start: int) -> frozenset[str]:
        """Names in lower case.  `start`: when the process began, 100 ns since 1601; empty if we may not ask."""
        now = self._clock()
        if now - self._taken >= FRESH or start >= self._taken_at:
            self._taken, self._taken_at = now, self._wall_clock()
            self._of_pid = _look()
        return self._of_pid.get(pid, frozenset())


def _look() -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    try:
        manager = services.OpenSCManagerW(
            None, None, services.SC_MANAGER_CONNECT | services.SC_MANAGER_ENUMERATE_SERVICE
        )
    except Win32Error:
        return {}
    try:
        buffer = ctypes.create_string_buffer(ROOM)
        resume = DWORD(0)
        for _ in range(MAX_CALLS):
            count, is_last = _some(manager, buffer, resume)
            for entry in (services.ENUM_SERVICE_STATUS_PROCESSW * count).from_buffer(buffer):
                found.setdefault(entry.ServiceStatusProcess.dwProcessId, set()).add((entry.lpServiceName or "").lower())
            if is_last:
                break
    except Win32Error:
        return {}
    finally:
        with contextlib.suppress(Win32Error):
            services.CloseServiceHandle(manager)
    return {pid: frozenset(names) for pid, names in found.items() if pid}


def _some(manager: int, buffer: ctypes.Array[ctypes.c_char], resume: DWORD) -> tuple[int, bool]:
    """How many services are in the buffer now, and whether there are no more."""
    needed, count = DWORD(), DWORD()
    try:
        services.EnumServicesStatusExW(
            manager, services.SC_ENUM_PROCESS_INFO, services.SERVICE_WIN32, services.SERVICE_ACTIVE, buffer, ROOM,
            ctypes.byref(needed), ctypes.byref(count), ctypes.byref(resume), None,
        )  # fmt: skip
    except Win32Error as error:
        if error.code != ERROR_MORE_DATA:
            raise
        return count.value, False
    return count.value, True
