"""TCP sockets that listen, with their owners, by GetExtendedTcpTable (tcpmib.h: MIB_TCPTABLE_OWNER_PID)."""

from __future__ import annotations

import ctypes
import struct
from ipaddress import IPv4Address, IPv6Address

from pointsman.system.host import Listener
from pointsman.system.windows import _machine as api
from pointsman.system.windows._library import DWORD, Win32Error

AF_INET, AF_INET6 = 2, 23
ERROR_INSUFFICIENT_BUFFER = 122
_V4_ROW, _V4_PID = 24, 20
_V6_ROW, _V6_PORT, _V6_PID = 56, 20, 52
TRIES = 5


def listeners() -> list[Listener] | None:
    found: list[Listener] = []
    for family, decode in ((AF_INET, rows_v4), (AF_INET6, rows_v6)):
        table = _table(family)
        if table is None:
            return None
        found += decode(table)
    return found


def rows_v4(table: bytes) -> list[Listener]:
    rows = []
    for start in _starts(table, _V4_ROW):
        address, port = table[start + 4 : start + 8], table[start + 8 : start + 10]
        rows.append(Listener(IPv4Address(address), _port(port), _pid(table, start + _V4_PID)))
    return rows


def rows_v6(table: bytes) -> list[Listener]:
    rows = []
    for start in _starts(table, _V6_ROW):
        port = table[start + _V6_PORT : start + _V6_PORT + 2]
        rows.append(Listener(IPv6Address(table[start : start + 16]), _port(port), _pid(table, start + _V6_PID)))
    return rows


def _starts(table: bytes, size: int) -> range:
    (count,) = struct.unpack_from("<I", table)
    return range(4, 4 + size * min(count, (len(table) - 4) // size), size)


def _port(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _pid(table: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", table, at)[0])


def _table(family: int) -> bytes | None:
    """It may grow between the question for its size and the one for its rows."""
    size = DWORD(64 << 10)
    for _ in range(TRIES):
        buffer = ctypes.create_string_buffer(size.value)
        try:
            api.GetExtendedTcpTable(buffer, ctypes.byref(size), 0, family, api.TCP_TABLE_OWNER_PID_LISTENER, 0)
        except Win32Error as error:
            if error.code == ERROR_INSUFFICIENT_BUFFER:
                continue
            return None
        return buffer.raw
    return None
