"""The control device of pointsman.sys by CreateFileW and DeviceIoControl: implements `system.interface.Driver`.

Decides what a Windows error of an IOCTL means here.  Must not know what the bytes say: that is `wire.abi`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from pointsman.errors import Exit, PointsmanError
from pointsman.system.interface import DriverError
from pointsman.system.windows import _kernel32
from pointsman.system.windows._library import DWORD, Win32Error, code_text
from pointsman.wire.abi import DEVICE_PATH, Ioctl

ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the driver returned, known from the Windows error that RtlNtStatusToDosError makes of it."""

    status: int
    """NTSTATUS."""
    name: str
    meaning: str


REFUSALS: dict[int, Refusal] = {
    1: Refusal(0xC000_0010, "STATUS_INVALID_DEVICE_REQUEST", "this driver has no such IOCTL"),
    5: Refusal(0xC000_0022, "STATUS_ACCESS_DENIED", "the registration belongs to another process"),
    21: Refusal(0xC000_00A3, "STATUS_DEVICE_NOT_READY", "the driver cannot take registrations now"),
    24: Refusal(0xC000_0004, "STATUS_INFO_LENGTH_MISMATCH", "the request has a wrong size"),
    87: Refusal(0xC000_000D, "STATUS_INVALID_PARAMETER", "the request has a value out of range"),
    122: Refusal(0xC000_0023, "STATUS_BUFFER_TOO_SMALL", "the reply does not fit"),
    1168: Refusal(0xC000_0225, "STATUS_NOT_FOUND", "no such registration"),
    1306: Refusal(0xC000_0059, "STATUS_REVISION_MISMATCH", "the driver speaks another ABI version"),
    1450: Refusal(0xC000_009A, "STATUS_INSUFFICIENT_RESOURCES", "the system is out of resources"),
}
"""Every status of abi/ABI.md by its Windows error."""


class WindowsDriverError(DriverError):
    """`status` is the Windows error, `refusal` what the driver said, if we know it."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(call, code)
        self.refusal = REFUSALS.get(code)

    def __str__(self) -> str:
        text = f"{self.call}: Windows error {code_text(self.status)}"
        if self.refusal is None:
            return text
        return f"{text} ({self.refusal.name} 0x{self.refusal.status:08X}): {self.refusal.meaning}"


class WindowsDriver:
    """Implements `interface.Driver`."""

    def __init__(self, path: str = DEVICE_PATH) -> None:
        """Raises PointsmanError: PM201, no such device; PM202, it cannot be opened."""
        access = _kernel32.GENERIC_READ | _kernel32.GENERIC_WRITE
        share = _kernel32.FILE_SHARE_READ | _kernel32.FILE_SHARE_WRITE  # two proxies live during a hand-over
        try:
            self._handle: int | None = _kernel32.CreateFileW(
                path, access, share, None, _kernel32.OPEN_EXISTING, 0, None
            )
        except Win32Error as error:
            raise _cannot_open(path, error.code) from error

    def control(self, code: int, request: bytes, reply_size: int) -> bytes:
        call = _name(code)
        if self._handle is None:
            raise WindowsDriverError(call, 6)  # ERROR_INVALID_HANDLE: a closed number may be somebody else's by now
        reply = ctypes.create_string_buffer(reply_size) if reply_size else None
        written = DWORD()
        try:
            _kernel32.DeviceIoControl(
                self._handle, code, request or None, len(request), reply, reply_size, ctypes.byref(written), None
            )
        except Win32Error as error:
            raise WindowsDriverError(call, error.code) from error
        return b"" if reply is None else reply.raw[: written.value]

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            _kernel32.CloseHandle(handle)


def _name(code: int) -> str:
    try:
        return f"IOCTL {Ioctl(code).name}"
    except ValueError:
        return f"IOCTL 0x{code:08X}"


def _cannot_open(path: str, code: int) -> PointsmanError:
    effect = "nothing is intercepted; connections go direct (fail open)"
    if code == ERROR_FILE_NOT_FOUND:
        return PointsmanError(
            "there is no driver to register with",
            code="PM201",
            seen=f"{path}: no such device (Windows error 2)",
            effect=effect,
            do="in an administrator's console: pointsman driver start (first: pointsman driver install)",
            status=Exit.DRIVER_MISSING,
        )
    if code == ERROR_ACCESS_DENIED:
        return PointsmanError(
            "cannot open the driver: this process may not",
            code="PM202",
            seen=f"{path}: access denied (Windows error 5); only SYSTEM and administrators may",
            effect=effect,
            do="run the same command in a console that was started as administrator",
            status=Exit.DRIVER_MISSING,
        )
    return PointsmanError(
        "cannot open the driver",
        code="PM202",
        seen=f"{path}: Windows error {code_text(code)}",
        effect=effect,
        do="restart the driver's service; if it stays so, restart Windows",
        status=Exit.DRIVER_MISSING,
    )
