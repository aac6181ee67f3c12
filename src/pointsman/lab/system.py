"""The lab as a `System`: what a proxy process in the lab sees of the operating system.

The proxy cannot tell it from Windows: the same IOCTL bytes, the same filters, the same redirect contexts; only the way
to the driver differs, a Unix socket to the machine that holds it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from pointsman.errors import PointsmanError
from pointsman.lab import app_id as lab_app_id
from pointsman.lab.device import (
    APPLY,
    CONTROL,
    ENVIRONMENT,
    RECORDS,
    STATUS_NOT_FOUND,
    Handle,
    Op,
    decode_installed,
    encode_connection,
    encode_filters,
    encode_native,
)
from pointsman.lab.process_facts import LabProcesses
from pointsman.lab.sockaddr import from_python
from pointsman.system.interface import DriverError
from pointsman.system.unix_channel import UnixChannel
from pointsman.wire.filters import Filter, InstalledFilter, NativeFilter


class LabDriver:
    """Implements `interface.Driver`."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        handle.call(Op.OPEN_DEVICE)

    def control(self, code: int, request: bytes, reply_size: int) -> bytes:
        status, reply = self._handle.request(Op.CONTROL, CONTROL.pack(code, reply_size) + request)
        if status:
            raise DriverError(f"IOCTL 0x{code:08X}", status)
        return reply

    def close(self) -> None:
        self._handle.close()


class LabFilterEngine:
    """Implements `interface.FilterEngine`."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        handle.call(Op.OPEN_ENGINE)

    def replace(self, filters: Sequence[Filter]) -> None:
        self._handle.call(Op.REPLACE_FILTERS, encode_filters(filters))

    def close(self) -> None:
        self._handle.close()


class LabPersistentFilters:
    """Implements `interface.PersistentFilters`: they outlive every session, and end with the machine."""

    def __init__(self, path: str) -> None:
        self._path = path

    def replace(self, filters: Sequence[NativeFilter]) -> None:
        self._call(Op.REPLACE_PERSISTENT, encode_native(filters))

    def installed(self) -> list[InstalledFilter]:
        return decode_installed(self._call(Op.LIST_PERSISTENT, b""))

    def _call(self, op: Op, payload: bytes) -> bytes:
        handle = Handle(self._path)
        try:
            return handle.call(op, payload)
        finally:
            handle.close()


class LabRedirects:
    """Implements `interface.RedirectSource`.  Records are eight opaque bytes here: the number of the flow."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def redirect_context(self, accepted: socket.socket) -> bytes | None:
        ends = _ends(accepted)
        if ends is None:
            return None
        status, reply = self._handle.request(Op.REDIRECT_CONTEXT, ends)
        if status == STATUS_NOT_FOUND:
            return None
        if status:
            raise DriverError(Op.REDIRECT_CONTEXT.name, status)
        return reply

    def redirect_records(self, accepted: socket.socket) -> bytes:
        ends = _ends(accepted)
        return b"" if ends is None else self._handle.call(Op.REDIRECT_RECORDS, ends)

    def apply_records(self, upstream: socket.socket, records: bytes) -> None:
        if not records:
            return
        # Its inode names a socket in every process that has it; the machine sees the same one at its connect().
        inode = os.fstat(upstream.fileno()).st_ino
        self._handle.call(Op.APPLY_RECORDS, APPLY.pack(inode, *RECORDS.unpack(records)))

    def close(self) -> None:
        self._handle.close()


class LabSystem:
    """Implements `interface.System`."""

    def __init__(self, path: str | None = None) -> None:
        """Raises PointsmanError (PM506) outside a lab."""
        self._path = path or os.environ.get(ENVIRONMENT, "")
        if not self._path:
            raise PointsmanError(
                "this process is in no lab",
                code="PM506", seen=f"{ENVIRONMENT} is not set", effect="this proxy handles nothing",
                do="start it inside a lab: pointsman lab -- COMMAND",
            )  # fmt: skip
        self.redirects = LabRedirects(Handle(self._path))
        self.processes = LabProcesses()
        self.persistent_filters = LabPersistentFilters(self._path)
        self.control = UnixChannel(Path(self._path).parent)  # the machine's own directory, mode 0700

    def open_driver(self) -> LabDriver:
        return LabDriver(Handle(self._path))

    def open_filter_engine(self) -> LabFilterEngine:
        return LabFilterEngine(Handle(self._path))

    def app_id(self, path: str) -> bytes:
        return lab_app_id.app_id(path)

    def image_path(self, app_id: bytes) -> str:
        return lab_app_id.image_path(app_id)

    def close(self) -> None:
        self.redirects.close()


def _ends(accepted: socket.socket) -> bytes | None:
    """None if the peer is gone: nobody is left to ask about."""
    try:
        return encode_connection(from_python(accepted.getpeername()), from_python(accepted.getsockname()))
    except OSError:
        return None
