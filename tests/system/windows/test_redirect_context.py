"""`WindowsRedirects` on a double of WSAIoctl: every answer that the documentation leaves open."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pointsman.system.interface import DriverError
from pointsman.system.windows import _ws2_32
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.redirect_context import CONTEXT_ROOM, MAX_ROOM, WindowsRedirects

CONTEXT, RECORDS, SET = 0x9800_00DD, 0x9800_00DC, 0x9800_00DE
Answer = tuple[int, int, bytes]
"""Error or 0, bytes that it says it has, bytes that it writes."""


class Winsock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[int, int]] = []
        self.given: list[bytes] = []
        monkeypatch.setattr(_ws2_32, "WSAIoctl", self.WSAIoctl)

    def WSAIoctl(
        self, handle: int, code: int, given: bytes | None, size: int, out: Any, room: int, written: Any, *rest: None
    ) -> int:
        error, says, data = self.answers.pop(0)
        self.asked.append((code, room))
        if given is not None:
            self.given.append(given[:size])
        ctypes.cast(written, ctypes.POINTER(ctypes.c_uint32))[0] = says
        if out is not None:
            ctypes.memmove(out, data, min(room, len(data)))
        if error:
            raise Win32Error("WSAIoctl", error)
        return 0


@pytest.fixture
def winsock(monkeypatch: pytest.MonkeyPatch) -> Winsock:
    return Winsock(monkeypatch)


@pytest.fixture
def some_socket() -> Iterator[socket.socket]:
    with socket.socket() as it:
        yield it


def test_the_context_is_what_windows_wrote(winsock: Winsock, some_socket: socket.socket) -> None:
    winsock.answers = [(0, 512, b"c" * 512)]

    assert WindowsRedirects().redirect_context(some_socket) == b"c" * 512
    assert winsock.asked == [(CONTEXT, CONTEXT_ROOM)]


@pytest.mark.parametrize("error", [10022, 1168, 10045, 10057])
def test_a_connection_that_nobody_redirected_has_none(winsock: Winsock, some_socket: socket.socket, error: int) -> None:
    winsock.answers = [(error, 0, b""), (error, 0, b"")]
    redirects = WindowsRedirects()

    assert redirects.redirect_context(some_socket) is None
    assert redirects.redirect_records(some_socket) == b""


def test_no_bytes_are_no_context(winsock: Winsock, some_socket: socket.socket) -> None:
    winsock.answers = [(0, 0, b"")]

    assert WindowsRedirects().redirect_context(some_socket) is None


@pytest.mark.parametrize("error", [0, 122, 234, 10014, 10040, 10022])
def test_too_little_room_is_asked_again_with_what_windows_says(
    winsock: Winsock, some_socket: socket.socket, error: int
) -> None:
    winsock.answers = [(error, 20000, b""), (0, 20000, b"r" * 20000)]

    assert WindowsRedirects().redirect_records(some_socket) == b"r" * 20000
    assert winsock.asked == [(RECORDS, 8192), (RECORDS, 20000)]


def test_room_doubles_if_windows_says_nothing_and_ends_at_the_bound(
    winsock: Winsock, some_socket: socket.socket
) -> None:
    winsock.answers = [(122, 0, b"")] * 5

    with pytest.raises(DriverError) as caught:
        WindowsRedirects().redirect_context(some_socket)

    assert caught.value.status == 122
    assert [room for _, room in winsock.asked] == [4096, 8192, 16384, 32768, MAX_ROOM]


def test_a_claim_beyond_the_bound_is_refused(winsock: Winsock, some_socket: socket.socket) -> None:
    winsock.answers = [(122, 1 << 31, b""), (122, 1 << 31, b"")]

    with pytest.raises(DriverError):
        WindowsRedirects().redirect_context(some_socket)
    assert [room for _, room in winsock.asked] == [4096, MAX_ROOM]


def test_another_error_is_not_swallowed(winsock: Winsock, some_socket: socket.socket) -> None:
    winsock.answers = [(10038, 0, b"")]

    with pytest.raises(DriverError) as caught:
        WindowsRedirects().redirect_context(some_socket)
    assert caught.value.status == 10038


def test_records_are_set_on_the_upstream_socket(winsock: Winsock, some_socket: socket.socket) -> None:
    winsock.answers = [(0, 0, b"")]
    redirects = WindowsRedirects()

    redirects.apply_records(some_socket, b"opaque")
    redirects.apply_records(some_socket, b"")

    assert (winsock.asked, winsock.given) == ([(SET, 0)], [b"opaque"])


@pytest.mark.parametrize("error", [10013, 10045])
def test_records_that_windows_refuses_do_not_stop_the_connection(
    winsock: Winsock, some_socket: socket.socket, error: int
) -> None:
    winsock.answers = [(error, 0, b"")]
    redirects = WindowsRedirects()

    redirects.apply_records(some_socket, b"opaque")

    assert redirects.refused_records == 1


def test_a_bug_of_ours_when_setting_is_not_swallowed(winsock: Winsock, some_socket: socket.socket) -> None:
    winsock.answers = [(10022, 0, b"")]

    with pytest.raises(DriverError):
        WindowsRedirects().apply_records(some_socket, b"opaque")
