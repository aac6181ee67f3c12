"""Windows as a `Host`: what `operate` and `doctor` get of it.  Puts the modules beside it together, decides nothing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from pointsman.errors import PointsmanError
from pointsman.system.host import ChainVerdict, CodeIntegrity, Listener, LogEvent, Value, WindowsBuild
from pointsman.system.windows import (
    _kernel32,
    access_list,
    boot_state,
    chain,
    event_log,
    registry,
    signature,
    tcp_listeners,
)
from pointsman.system.windows import _machine as api
from pointsman.system.windows._library import DWORD, Win32Error, code_text
from pointsman.system.windows.service_manager import ServiceManager
from pointsman.system.windows.wfp_objects import WindowsWfpObjects

MACHINES = {"AMD64": 0x8664, "ARM64": 0xAA64, "x86": 0x014C}
MUTEX_WAIT_MS = 15_000
DEVICE_ROOM = 1024  # characters


class WindowsHost:
    """Implements `host.Host`."""

    def __init__(self) -> None:
        self.program_files = Path(os.environ.get("PROGRAMW6432") or os.environ.get("PROGRAMFILES", r"C:\Program Files"))
        self.program_data = Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData"))
        self.system_root = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"))

    def services(self, *, create: bool = False) -> ServiceManager:
        return ServiceManager(create=create)

    @contextlib.contextmanager
    def exclusively(self, name: str) -> Iterator[None]:
        try:
            mutex = api.CreateMutexW(None, 0, f"Global\\{name}")
        except Win32Error as error:
            raise _busy(name, f"Windows error {code_text(error.code)}") from error
        try:
            if api.WaitForSingleObject(mutex, MUTEX_WAIT_MS) not in (api.WAIT_OBJECT_0, api.WAIT_ABANDONED):
                raise _busy(name, f"another process has held it for {MUTEX_WAIT_MS // 1000} s")
            try:
                yield
            finally:
                api.ReleaseMutex(mutex)
        finally:
            _kernel32.CloseHandle(mutex)

    def is_elevated(self) -> bool:
        token, elevated, size = ctypes.c_void_p(), DWORD(), DWORD()
        try:
            api.OpenProcessToken(api.GetCurrentProcess(), api.TOKEN_QUERY, ctypes.byref(token))
            try:
                api.GetTokenInformation(token, api.TOKEN_ELEVATION, ctypes.byref(elevated), 4, ctypes.byref(size))
            finally:
                _kernel32.CloseHandle(token)
        except Win32Error:
            return False
        return bool(elevated.value)

    def build(self) -> WindowsBuild:
        return boot_state.build()

    def machine(self) -> int:
        own, native = ctypes.c_uint16(), ctypes.c_uint16()
        try:
            api.IsWow64Process2(api.GetCurrentProcess(), ctypes.byref(own), ctypes.byref(native))
        except (Win32Error, AttributeError):  # before Windows 10 1709 there is no such function, and no ARM64
            return MACHINES.get(platform.machine(), 0)
        return native.value

    def code_integrity(self) -> CodeIntegrity | None:
        return boot_state.code_integrity()

    def secure_boot(self) -> bool | None:
        return boot_state.secure_boot()

    def registry(self, key: str, value: str) -> Value | None:
        return registry.read(key, value)

    def registry_keys(self, key: str) -> tuple[str, ...]:
        return registry.key_names(key)

    def signature(self, file: Path) -> int:
        return signature.verify(file)

    def loaded_modules(self) -> Sequence[str] | None:
        return boot_state.loaded_modules()

    def device_target(self, name: str) -> str | None:
        buffer = ctypes.create_unicode_buffer(DEVICE_ROOM)
        try:
            _kernel32.QueryDosDeviceW(name, buffer, DEVICE_ROOM)
        except Win32Error:
            return None
        return buffer.value

    def listeners(self) -> Sequence[Listener] | None:
        return tcp_listeners.listeners()

    def process_start(self, pid: int) -> int | None:
        times = [ctypes.c_uint64() for _ in range(4)]
        try:
            process = api.OpenProcess(api.PROCESS_QUERY_LIMITED_INFORMATION, 0, pid)
            try:
                api.GetProcessTimes(process, *(ctypes.byref(time) for time in times))
            finally:
                _kernel32.CloseHandle(process)
        except Win32Error:
            return None
        return times[0].value

    def wfp_objects(self) -> WindowsWfpObjects:
        return WindowsWfpObjects()

    def log_events(self, channel: str, query: str) -> Sequence[LogEvent]:
        return event_log.read(channel, query)

    def chain(self, leaf: bytes, host: str) -> ChainVerdict:
        return chain.verify(leaf, host)

    def others_who_write(self, folder: Path) -> Sequence[str] | None:
        return access_list.others_who_write(folder)

    def delete_at_restart(self, file: Path) -> None:
        try:
            api.MoveFileExW(str(file), None, api.MOVEFILE_DELAY_UNTIL_REBOOT)
        except Win32Error as error:
            raise OSError(error.code, f"{error.call}: Windows error {code_text(error.code)}") from error


def _busy(name: str, seen: str) -> PointsmanError:
    return PointsmanError(
        "another installation is under way",
        code="PM214",
        seen=f"{name}: {seen}",
        effect="nothing was changed",
        do="wait until it is done, then run the same command again",
    )
