"""ws2_32.dll, 1:1 (winsock2.h, mstcpip.h): what `socket` has no call for.  A failed call raises Win32Error."""

from __future__ import annotations

import ctypes
from typing import Any

from pointsman.system.windows._library import DWORD, POINTER, Function, Win32Error

SOCKET = ctypes.c_size_t
SIO_QUERY_WFP_CONNECTION_REDIRECT_RECORDS = 0x9800_00DC
SIO_QUERY_WFP_CONNECTION_REDIRECT_CONTEXT = 0x9800_00DD
SIO_SET_WFP_CONNECTION_REDIRECT_RECORDS = 0x9800_00DE

WSAGetLastError = Function("ws2_32", "WSAGetLastError", ctypes.c_int32)


def _socket_error(result: Any, function: Function) -> Any:
    if result:
        raise Win32Error(function.name, WSAGetLastError())
    return result


WSAIoctl = Function(
    "ws2_32", "WSAIoctl", ctypes.c_int32,
    SOCKET, DWORD, POINTER, DWORD, POINTER, DWORD, POINTER, POINTER, POINTER, check=_socket_error,
)  # fmt: skip
"""socket, code, in, in size, out, out size, DWORD* written, overlapped, completion routine"""
