"""The machine's side of the device socket: a connection is a handle, its end is the handle's cleanup.

It answers at once and waits for nobody: a proxy that is stopped or slow has its own requests unread, no one else's.
Who connects is told by the kernel (SO_PEERCRED), so a process can register in its own name only.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from pointsman.lab.device import (
    APPLY,
    CONTROL,
    HEADER,
    MAX_REPLY,
    MAX_REQUEST,
    RECORDS,
    STATUS_INVALID_DEVICE_STATE,
    STATUS_INVALID_PARAMETER,
    STATUS_NOT_FOUND,
    STATUS_SUCCESS,
    Op,
    decode_connection,
    decode_filters,
    decode_native,
    encode_installed,
)
from pointsman.lab.kernel import Kernel
from pointsman.lab.sockaddr import Endpoint
from pointsman.system.interface import DriverError

MAX_HANDLES = 256
_CREDENTIALS = struct.Struct("=iII")

Reply = tuple[int, bytes]


class DeviceServer:
    def __init__(self, kernel: Kernel, is_ours: Callable[[int], bool]) -> None:
        """`is_ours` tells whether a PID is a process of this lab."""
        self.kernel = kernel
        self.is_ours = is_ours
        self.handles: set[_Handle] = set()
        self._server: asyncio.Server | None = None

    async def start(self, path: Path) -> None:
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Handle(self), str(path))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for handle in list(self.handles):
            handle.end()

    def process_exited(self, pid: int) -> None:
        """Its handles end with it, after the driver was told of its end."""
        for handle in [handle for handle in self.handles if handle.pid == pid]:
            handle.end()


class _Handle(asyncio.Protocol):
    def __init__(self, server: DeviceServer) -> None:
        self._server = server
        self._kernel = server.kernel
        self._buffer = bytearray()
        self._device: int | None = None
        self._engine: int | None = None
        self._filters: list[int] = []
        self._transport: asyncio.Transport | None = None
        self.pid = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer: socket.socket = transport.get_extra_info("socket")
        pid, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        try:
            allowed = uid == os.getuid() and len(self._server.handles) < MAX_HANDLES and self._server.is_ours(pid)
            if allowed:
                self._kernel.processes.of_pid(pid)
        except OSError:
            allowed = False  # it is gone already
        if not allowed:
            transport.abort()
            return
        self.pid = pid
        self._transport = transport
        self._server.handles.add(self)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            size, op = HEADER.unpack_from(self._buffer)
            if size > MAX_REQUEST:
                self.end()
                return
            if len(self._buffer) < HEADER.size + size:
                return
            payload = bytes(self._buffer[HEADER.size : HEADER.size + size])
            del self._buffer[: HEADER.size + size]
            status, reply = self._perform(op, payload)
            self._transport.write(HEADER.pack(len(reply), status) + reply)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()  # it does not read its replies: no more requests until it does

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._transport is not None:
            # A dying process closes its sockets before its pidfd tells: the driver must hear of the process first.
            self._kernel.processes.settle(self.pid)
        self.end()

    def end(self) -> None:
        """Cleanup and close, as for a handle; harmless when repeated."""
        self._server.handles.discard(self)
        device, engine, transport = self._device, self._engine, self._transport
        self._device = self._engine = self._transport = None
        if device is not None:
            self._kernel.simulator.close_device(device)
        if engine is not None:
            self._kernel.simulator.close_engine(engine)
        if transport is not None:
            transport.abort()

    def _perform(self, op: int, payload: bytes) -> Reply:
        operations: dict[int, Callable[[bytes], Reply]] = {
            Op.OPEN_DEVICE: self._open_device,
            Op.CONTROL: self._control,
            Op.OPEN_ENGINE: self._open_engine,
            Op.REPLACE_FILTERS: self._replace_filters,
            Op.REDIRECT_CONTEXT: self._redirect_context,
            Op.REDIRECT_RECORDS: self._redirect_records,
            Op.APPLY_RECORDS: self._apply_records,
            Op.REPLACE_PERSISTENT: self._replace_persistent,
            Op.LIST_PERSISTENT: self._list_persistent,
        }
        operation = operations.get(op)
        if operation is None:
            return STATUS_INVALID_PARAMETER, b""
        try:
            return operation(payload)
        except DriverError as error:
            return error.status, b""
        except (ValueError, struct.error):
            return STATUS_INVALID_PARAMETER, b""  # bytes that no client of ours sends: said to whoever did

    def _open_device(self, _payload: bytes) -> Reply:
        if self._device is not None or self._engine is not None:
            return STATUS_INVALID_DEVICE_STATE, b""
        self._device = self._kernel.simulator.open_device(self.pid)
        return STATUS_SUCCESS, b""

    def _control(self, payload: bytes) -> Reply:
        code, size = CONTROL.unpack_from(payload)
        if self._device is None:
            return STATUS_INVALID_DEVICE_STATE, b""
        if size > MAX_REPLY:
            return STATUS_INVALID_PARAMETER, b""
        return self._kernel.simulator.control(self._device, self.pid, code, payload[CONTROL.size :], size)

    def _open_engine(self, _payload: bytes) -> Reply:
        if self._device is not None or self._engine is not None:
            return STATUS_INVALID_DEVICE_STATE, b""
        self._engine = self._kernel.simulator.open_engine(self.pid)
        return STATUS_SUCCESS, b""

    def _replace_filters(self, payload: bytes) -> Reply:
        if self._engine is None:
            return STATUS_INVALID_DEVICE_STATE, b""
        self._filters = self._kernel.simulator.replace_filters(self._engine, self._filters, decode_filters(payload))
        return STATUS_SUCCESS, b""

    def _redirect_context(self, payload: bytes) -> Reply:
        context = self._kernel.redirect_context(*_ends(payload))
        return (STATUS_NOT_FOUND, b"") if context is None else (STATUS_SUCCESS, context)

    def _redirect_records(self, payload: bytes) -> Reply:
        flow = self._kernel.flow_of(*_ends(payload))
        return STATUS_SUCCESS, RECORDS.pack(flow) if flow else b""

    def _apply_records(self, payload: bytes) -> Reply:
        inode, flow = APPLY.unpack(payload)
        self._kernel.apply_records(inode, flow)
        return STATUS_SUCCESS, b""

    def _replace_persistent(self, payload: bytes) -> Reply:
        self._kernel.replace_persistent(self.pid, decode_native(payload))
        return STATUS_SUCCESS, b""

    def _list_persistent(self, _payload: bytes) -> Reply:
        return STATUS_SUCCESS, encode_installed(self._kernel.persistent)


def _ends(payload: bytes) -> tuple[Endpoint, Endpoint]:
    ends = decode_connection(payload)
    return (ip_address(ends.peer[0]), ends.peer[1]), (ip_address(ends.local[0]), ends.local[1])
