"""The device socket's language: what a proxy process says to the lab's machine, and its side of the conversation.

A connection is a handle.  Each request is a frame, each reply is one; a connection never has more than one request
under way.  What a handle opened (the driver's device, a filter engine session) ends with its connection, as a
handle's does on Windows.

    request  u32 size of the payload, u32 op, payload         reply  u32 size of the payload, u32 NTSTATUS, payload
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

import msgspec

from pointsman.errors import PointsmanError
from pointsman.lab.sockaddr import Endpoint
from pointsman.system.interface import DriverError
from pointsman.wire.filters import Condition, Field, Filter, InstalledFilter, Layer, NativeFilter

ENVIRONMENT = "POINTSMAN_LAB"
MAX_REQUEST = 16 << 20  # bytes: some 50,000 filters
MAX_REPLY = 1 << 20  # bytes
REPLY_TIMEOUT = 10.0  # seconds; the machine answers in microseconds, or it is stopped or gone
HEADER = struct.Struct("=II")
CONTROL = struct.Struct("=II")  # IOCTL code, size of the reply; then the request's bytes
RECORDS = struct.Struct("=Q")
APPLY = struct.Struct("=QQ")  # inode of the socket, flow
STATUS_SUCCESS = 0
STATUS_NOT_FOUND = 0xC0000225
STATUS_INVALID_PARAMETER = 0xC000000D
STATUS_INVALID_DEVICE_STATE = 0xC0000184
STATUS_DEVICE_NOT_CONNECTED = 0xC000009D


class Op(IntEnum):
    OPEN_DEVICE = 1
    CONTROL = 2
    OPEN_ENGINE = 3
    REPLACE_FILTERS = 4
    REDIRECT_CONTEXT = 5
    REDIRECT_RECORDS = 6
    APPLY_RECORDS = 7
    REPLACE_PERSISTENT = 8
    LIST_PERSISTENT = 9


class _Condition(msgspec.Struct, array_like=True):
    """One of the three holds the value."""

    field: Field
    number: int | tuple[int, int] | None = None
    data: bytes | None = None
    network: str | None = None


class _Filter(msgspec.Struct, array_like=True):
    name: str
    layer: Layer
    weight: int
    context: int
    conditions: list[_Condition]


class _Native(msgspec.Struct, array_like=True):
    name: str
    layer: Layer
    weight: int
    blocks: bool
    conditions: list[_Condition]


class _Connection(msgspec.Struct, array_like=True):
    """The two ends of an accepted connection, as the proxy's socket says them."""

    peer: tuple[str, int]
    local: tuple[str, int]


def encode_filters(filters: Sequence[Filter]) -> bytes:
    return msgspec.msgpack.encode(
        [_Filter(f.name, f.layer, f.weight, f.context, [_encode(c) for c in f.conditions]) for f in filters]
    )


def decode_filters(data: bytes) -> list[Filter]:
    """Raises ValueError for anything that `encode_filters` did not write."""
    decoded = msgspec.msgpack.decode(data, type=list[_Filter])
    return [
        Filter(item.name, item.layer, item.weight, item.context, tuple(_decode(c) for c in item.conditions))
        for item in decoded
    ]


def encode_native(filters: Sequence[NativeFilter]) -> bytes:
    return msgspec.msgpack.encode(
        [_Native(f.name, f.layer, f.weight, f.blocks, [_encode(c) for c in f.conditions]) for f in filters]
    )


def decode_native(data: bytes) -> list[NativeFilter]:
    """Raises ValueError for anything that `encode_native` did not write."""
    decoded = msgspec.msgpack.decode(data, type=list[_Native])
    return [
        NativeFilter(item.name, item.layer, item.weight, item.blocks, tuple(_decode(c) for c in item.conditions))
        for item in decoded
    ]


def encode_installed(filters: Sequence[InstalledFilter]) -> bytes:
    return msgspec.msgpack.encode(filters)


def decode_installed(data: bytes) -> list[InstalledFilter]:
    return msgspec.msgpack.decode(data, type=list[InstalledFilter])


def encode_connection(peer: Endpoint, local: Endpoint) -> bytes:
    return msgspec.msgpack.encode(_Connection((str(peer[0]), peer[1]), (str(local[0]), local[1])))


def decode_connection(data: bytes) -> _Connection:
    """Raises ValueError."""
    return msgspec.msgpack.decode(data, type=_Connection)


def _encode(condition: Condition) -> _Condition:
    match condition.value:
        case IPv4Network() | IPv6Network() as network:
            return _Condition(condition.field, network=str(network))
        case bytes() as data:
            return _Condition(condition.field, data=data)
        case number:
            return _Condition(condition.field, number=number)


def _decode(condition: _Condition) -> Condition:
    values = [value for value in (condition.number, condition.data) if value is not None]
    if condition.network is not None:
        return Condition(condition.field, ip_network(condition.network))
    if len(values) != 1:
        raise ValueError(f"a condition with {len(values)} values")
    return Condition(condition.field, values[0])


class Handle:
    """The proxy's end of one connection.  Blocks for as long as the machine needs, far below a millisecond."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(REPLY_TIMEOUT)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise PointsmanError(
                "cannot reach the lab's machine",
                code="PM506", seen=f"{ENVIRONMENT}={path}: {os.strerror(error.errno or 0)}",
                effect="this proxy handles nothing", do="start it inside a lab: pointsman lab -- COMMAND",
            ) from error  # fmt: skip

    def request(self, op: Op, payload: bytes = b"") -> tuple[int, bytes]:
        """Returns NTSTATUS and bytes.  A machine that is gone is a device that is gone."""
        try:
            self._socket.sendall(HEADER.pack(len(payload), op) + payload)
            size, status = HEADER.unpack(self._receive(HEADER.size))
            return status, self._receive(size)
        except OSError as error:
            self._socket.close()  # a late reply must not be taken for the answer to another request
            raise DriverError(op.name, STATUS_DEVICE_NOT_CONNECTED) from error

    def call(self, op: Op, payload: bytes = b"") -> bytes:
        """As `request`; raises DriverError for a status that is an error."""
        status, reply = self.request(op, payload)
        if status:
            raise DriverError(op.name, status)
        return reply

    def close(self) -> None:
        self._socket.close()

    def _receive(self, size: int) -> bytes:
        if size > MAX_REPLY:
            raise ConnectionError(f"a reply of {size} bytes")
        data = bytearray()
        while len(data) < size:
            chunk = self._socket.recv(size - len(data))
            if not chunk:
                raise ConnectionResetError("the machine is gone")
            data += chunk
        return bytes(data)
