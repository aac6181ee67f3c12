"""`WindowsDriver` on doubles of kernel32: what goes in, what comes out, and how a refusal reads."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from pointsman.errors import Exit, PointsmanError
from pointsman.system.interface import DriverError
from pointsman.system.windows import _kernel32
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.driver import REFUSALS, WindowsDriver, WindowsDriverError
from pointsman.wire.abi import Ioctl


class Kernel32:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: tuple[Any, ...] = ()
        self.closed: list[int] = []
        self.sent: list[tuple[int, int, bytes | None, int]] = []
        self.reply = b""
        self.error = 0
        for name in ("CreateFileW", "DeviceIoControl", "CloseHandle"):
            monkeypatch.setattr(_kernel32, name, getattr(self, name))

    def CreateFileW(self, *arguments: Any) -> int:
        if self.error:
            raise Win32Error("CreateFileW", self.error)
        self.opened = arguments
        return 92

    def DeviceIoControl(
        self, handle: int, code: int, data: bytes | None, size: int, out: Any, room: int, written: Any, overlapped: None
    ) -> int:
        if self.error:
            raise Win32Error("DeviceIoControl", self.error)
        self.sent.append((handle, code, data, size))
        if out is not None:
            ctypes.memmove(out, self.reply, min(room, len(self.reply)))
        ctypes.cast(written, ctypes.POINTER(ctypes.c_uint32))[0] = min(room, len(self.reply))
        return 1

    def CloseHandle(self, handle: int) -> int:
        self.closed.append(handle)
        return 1


@pytest.fixture
def kernel32(monkeypatch: pytest.MonkeyPatch) -> Kernel32:
    return Kernel32(monkeypatch)


def test_the_device_is_opened_for_reading_and_writing_beside_others(kernel32: Kernel32) -> None:
    WindowsDriver()

    assert kernel32.opened == (r"\\.\Pointsman", 0xC000_0000, 3, None, 3, 0, None)


def test_a_request_goes_out_and_as_many_bytes_as_were_written_come_back(kernel32: Kernel32) -> None:
    kernel32.reply = b"\x01\x02\x03"

    assert WindowsDriver().control(Ioctl.STATUS, b"ask", 16) == b"\x01\x02\x03"
    assert kernel32.sent == [(92, Ioctl.STATUS, b"ask", 3)]


def test_no_request_and_no_reply_are_null_and_zero(kernel32: Kernel32) -> None:
    assert WindowsDriver().control(Ioctl.RENEW, b"", 0) == b""
    assert kernel32.sent == [(92, Ioctl.RENEW, None, 0)]


def test_closing_twice_closes_once_and_a_closed_handle_is_not_used(kernel32: Kernel32) -> None:
    driver = WindowsDriver()
    driver.close()
    driver.close()

    with pytest.raises(WindowsDriverError, match="error 6"):
        driver.control(Ioctl.STATUS, b"", 16)
    assert (kernel32.closed, kernel32.sent) == ([92], [])


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_a_refusal_names_the_windows_error_the_status_and_the_meaning(kernel32: Kernel32, code: int) -> None:
    driver = WindowsDriver()
    kernel32.error = code

    with pytest.raises(DriverError) as caught:
        driver.control(Ioctl.REGISTER, b"", 24)

    refusal = REFUSALS[code]
    assert caught.value.status == code
    assert refusal.status >> 30 == 3  # severity: error
    assert str(caught.value) == (
        f"IOCTL REGISTER: Windows error {code} ({refusal.name} 0x{refusal.status:08X}): {refusal.meaning}"
    )


def test_an_unknown_refusal_keeps_its_number(kernel32: Kernel32) -> None:
    driver = WindowsDriver()
    kernel32.error = 995

    with pytest.raises(WindowsDriverError) as caught:
        driver.control(0x0012_3456, b"", 0)

    assert str(caught.value) == "IOCTL 0x00123456: Windows error 995"
    assert caught.value.refusal is None


@pytest.mark.parametrize(
    ("error", "code", "seen", "do"),
    [
        (2, "PM201", "no such device", "pointsman driver start"),
        (5, "PM202", "only SYSTEM and administrators may", "administrator"),
        (1117, "PM202", "Windows error 1117", "restart"),
    ],
)
def test_a_device_that_cannot_be_opened_is_told_in_four_lines(
    kernel32: Kernel32, error: int, code: str, seen: str, do: str
) -> None:
    kernel32.error = error

    with pytest.raises(PointsmanError) as caught:
        WindowsDriver()

    assert (caught.value.code, caught.value.status) == (code, Exit.DRIVER_MISSING)
    assert seen in caught.value.seen and do in caught.value.do
    assert "fail open" in caught.value.effect
