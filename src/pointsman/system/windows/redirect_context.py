"""What WFP keeps for a redirected connection, by WSAIoctl: implements `system.interface.RedirectSource`.

Decides when a refusal means "nobody redirected this" (never a crash) and when to ask again with more room.  The bytes
are not looked at: `wire.redirect_context` decodes them.  Source: "SIO_QUERY_WFP_CONNECTION_REDIRECT_CONTEXT" and
"SIO_QUERY_WFP_CONNECTION_REDIRECT_RECORDS", Winsock IOCTLs, Windows SDK documentation, which contradicts itself about a
buffer that is too small and leaves the error of a connection that nobody redirected open: so both are read tolerantly.
"""

from __future__ import annotations

import ctypes
import socket

from pointsman.system.interface import DriverError
from pointsman.system.windows import _ws2_32
from pointsman.system.windows._library import DWORD, Win32Error

CONTEXT_ROOM = 4096  # bytes; our context has 512
RECORDS_ROOM = 8192  # bytes, as Microsoft's WFPSampler reserves
MAX_ROOM = 65536  # bytes
_MORE_ROOM = {122, 234, 10014, 10040}  # ERROR_INSUFFICIENT_BUFFER, ERROR_MORE_DATA, WSAEFAULT, WSAEMSGSIZE
_NOT_REDIRECTED = {10022, 1168, 10045, 10057}
"""WSAEINVAL, ERROR_NOT_FOUND; WSAEOPNOTSUPP: no WFP in the way; WSAENOTCONN: the app has gone already."""
_GOES_ON_WITHOUT = {10013, 10045}
"""WSAEACCES, WSAEOPNOTSUPP of SET: the driver exempts our process anyway, only per-app firewall rules then see us."""


class WindowsRedirects:
    """Implements `interface.RedirectSource`."""

    def __init__(self) -> None:
        self.refused_records = 0
        """Upstream sockets that connect without records because Windows refused them."""

    def redirect_context(self, accepted: socket.socket) -> bytes | None:
        return _query(accepted.fileno(), _ws2_32.SIO_QUERY_WFP_CONNECTION_REDIRECT_CONTEXT, CONTEXT_ROOM)

    def redirect_records(self, accepted: socket.socket) -> bytes:
        return _query(accepted.fileno(), _ws2_32.SIO_QUERY_WFP_CONNECTION_REDIRECT_RECORDS, RECORDS_ROOM) or b""

    def apply_records(self, upstream: socket.socket, records: bytes) -> None:
        """Before bind and connect (WFPSampler).  Raises DriverError for a refusal that is a bug of ours."""
        if not records:
            return
        written = DWORD()
        try:
            _ws2_32.WSAIoctl(
                upstream.fileno(), _ws2_32.SIO_SET_WFP_CONNECTION_REDIRECT_RECORDS, records, len(records), None, 0,
                ctypes.byref(written), None, None,
            )  # fmt: skip
        except Win32Error as error:
            if error.code not in _GOES_ON_WITHOUT:
                raise DriverError(error.call, error.code) from error
            self.refused_records += 1


def _query(handle: int, code: int, room: int) -> bytes | None:
    """None if nobody redirected the connection.  Asks once for each size, up to MAX_ROOM."""
    while True:
        out = ctypes.create_string_buffer(room)
        written = DWORD()
        failure: Win32Error | None = None
        try:
            _ws2_32.WSAIoctl(handle, code, None, 0, out, room, ctypes.byref(written), None, None)
        except Win32Error as error:
            failure = error
        if failure is None and written.value <= room:
            return out.raw[: written.value] or None
        if failure is not None and failure.code in _NOT_REDIRECTED and written.value <= room:
            return None
        if failure is not None and failure.code not in _MORE_ROOM | _NOT_REDIRECTED:
            raise DriverError(failure.call, failure.code) from failure
        if room == MAX_ROOM:
            raise DriverError("WSAIoctl", 122 if failure is None else failure.code) from failure
        room = min(MAX_ROOM, max(written.value, 2 * room))
