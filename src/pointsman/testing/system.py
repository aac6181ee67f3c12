"""A double of the operating system: the seams of `system.interface` in memory.

`FakeRedirects` stands for the driver's work on sockets.  A test that plays a redirected app says what its connection
was before, by the port it connects from (`expect`), or for every connection at once (`everything`), and then dials
the proxy.  A connection that nobody announced has no context, as on Windows.

`FakeDriver` answers the IOCTLs as the driver would to one process; `FakeFilterEngine` keeps what it was given.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from ipaddress import ip_address

from pointsman.system.interface import Answer, DriverError
from pointsman.wire.abi import (
    ABI_VERSION,
    COUNTER_COUNT,
    EVENT_BATCH,
    RULE_DEFAULT,
    STATUS_SIZE,
    Flag,
    Ioctl,
    RegistrationStatus,
    State,
)
from pointsman.wire.filters import Filter, InstalledFilter, NativeFilter
from pointsman.wire.process_facts import ProcessFacts
from pointsman.wire.redirect_context import RedirectContext, encode_redirect_context

INVALID_PARAMETER = 0xC000_000D
RECORDS = b"redirect records"


def context_for(
    address: str, port: int, *, app: str = "/usr/bin/app", pid: int = 4711, registration: int = 1
) -> RedirectContext:
    """What the driver attaches to a connection of `app` to this destination."""
    return RedirectContext(
        registration=registration,
        rule_id=RULE_DEFAULT,
        generation=1,
        time=0,
        process_start=0,
        pid=pid,
        original_destination=(ip_address(address), port),
        protocol=6,
        flags=Flag(0),
        app_id=app.encode("utf-16-le"),
    )


class FakeRedirects:
    def __init__(self) -> None:
        self.everything: bytes | None = None
        """The context of every connection that `expect` does not know; None refuses them."""
        self.applied: list[bytes] = []
        """Records that were put on upstream sockets."""
        self._by_port: dict[int, bytes] = {}

    def expect(self, local_port: int, context: RedirectContext) -> None:
        """A connection from this port is a redirected one."""
        self._by_port[local_port] = encode_redirect_context(context)

    def redirect_context(self, accepted: socket.socket) -> bytes | None:
        return self._by_port.get(accepted.getpeername()[1], self.everything)

    def redirect_records(self, accepted: socket.socket) -> bytes:
        del accepted  # opaque, and the same for all
        return RECORDS

    def apply_records(self, upstream: socket.socket, records: bytes) -> None:
        del upstream
        self.applied.append(records)


class FakeDriver:
    def __init__(self, abi: int = ABI_VERSION) -> None:
        self.abi = abi
        self.calls: list[Ioctl] = []
        self.live: set[int] = set()
        self.closed = False
        self.forget_at_next_renewal = False
        """As a driver that was reloaded: it does not know the registration any more."""
        self._next = 1

    def control(self, code: int, request: bytes, reply_size: int) -> bytes:
        del reply_size  # all replies are short
        call = Ioctl(code)
        self.calls.append(call)
        match call:
            case Ioctl.QUERY_VERSION:
                return struct.pack("<IIII", 16, self.abi, 1 << 16, 0)
            case Ioctl.REGISTER:
                self.live.add(self._next)
                self._next += 1
                return struct.pack("<IIIIQ", 24, ABI_VERSION, self._next - 1, 3000, self._next)
            case Ioctl.RENEW | Ioctl.WITHDRAW:
                number = struct.unpack_from("<I", request, 8)[0]
                if self.forget_at_next_renewal and call is Ioctl.RENEW:
                    self.forget_at_next_renewal = False
                    self.live.clear()
                if number not in self.live:
                    raise DriverError(call.name, INVALID_PARAMETER)
                if call is Ioctl.WITHDRAW:
                    self.live.discard(number)
                return b""
            case _:
                raise DriverError(call.name, INVALID_PARAMETER)

    def close(self) -> None:
        self.closed = True
        self.live.clear()


class FakeFilterEngine:
    def __init__(self) -> None:
        self.filters: list[Filter] = []
        self.closed = False

    def replace(self, filters: Sequence[Filter]) -> None:
        self.filters = list(filters)

    def close(self) -> None:
        self.closed = True
        self.filters = []


class FakePersistentFilters:
    def __init__(self) -> None:
        self.filters: list[NativeFilter] = []

    def replace(self, filters: Sequence[NativeFilter]) -> None:
        self.filters = list(filters)

    def installed(self) -> list[InstalledFilter]:
        return [InstalledFilter(one.name, one.layer, one.blocks) for one in self.filters]


class FakeProcesses:
    """Programs and processes that a test has announced; no tokens, as in the lab."""

    sees_tokens = False

    def __init__(self) -> None:
        self.programs: set[str] = set()
        self.of_pid: dict[int, ProcessFacts] = {}
        self.images: dict[int, str] = {}

    def facts(self, pid: int) -> ProcessFacts | None:
        return self.of_pid.get(pid)

    def image(self, pid: int, start: int) -> str | None:
        del start  # a PID is one process here
        return self.images.get(pid)

    def running(self) -> frozenset[str]:
        return frozenset(self.programs)

    def sid_of(self, user: str) -> str | None:
        del user  # nobody has one
        return None


class FakeControl:
    """The channel of one process, which is both ends."""

    def __init__(self) -> None:
        self.answer: Answer | None = None

    async def serve(self, answer: Answer) -> FakeControl:
        self.answer = answer
        return self

    async def close(self) -> None:
        self.answer = None

    def peers(self) -> Sequence[int]:
        return [os.getpid()] if self.answer is not None else []

    def ask(self, pid: int, request: bytes, timeout: float) -> bytes:
        if self.answer is None or pid != os.getpid():
            raise ConnectionRefusedError(f"process {pid} has no channel")
        return asyncio.run(asyncio.wait_for(_awaited(self.answer, request), timeout))


async def _awaited(answer: Answer, request: bytes) -> bytes:
    return await answer(request)


class FakeSystem:
    """Everything of the operating system; one driver and one filter engine, however often they are opened."""

    def __init__(self, abi: int = ABI_VERSION) -> None:
        self.redirects = FakeRedirects()
        self.processes = FakeProcesses()
        self.persistent_filters = FakePersistentFilters()
        self.control = FakeControl()
        self.driver = FakeDriver(abi)
        self.filter_engine = FakeFilterEngine()

    def open_driver(self) -> FakeDriver:
        return self.driver

    def open_filter_engine(self) -> FakeFilterEngine:
        return self.filter_engine

    def app_id(self, path: str) -> bytes:
        return path.lower().encode("utf-16-le") + b"\0\0"

    def image_path(self, app_id: bytes) -> str:
        return app_id.decode("utf-16-le", "replace").rstrip("\0")

    def close(self) -> None:
        self.closed = True


class StatusDriver:
    """A driver that answers questions about itself as a test says, and has seen the events that a test puts there."""

    def __init__(self) -> None:
        self.abi = ABI_VERSION
        self.version = 1 << 16  # 0.1.0
        self.state = State.PROCESS_NOTIFY | State.REDIRECT_HANDLE | State.CALLOUTS | State.OBJECTS
        self.statuses = [0, 0, 0, 0]
        self.active = 0
        self.registrations: list[RegistrationStatus] = []
        self.counters = [0] * COUNTER_COUNT
        self.events: list[bytes] = []
        """Encoded, oldest first."""

    def control(self, code: int, request: bytes, reply_size: int) -> bytes:
        del reply_size  # all replies fit
        match Ioctl(code):
            case Ioctl.QUERY_VERSION:
                return struct.pack("<IIII", 16, self.abi, self.version, 0)
            case Ioctl.STATUS:
                return self._status()
            case Ioctl.READ_EVENTS:
                (first,) = struct.unpack_from("<Q", request, 8)
                batch = self.events[first : first + EVENT_BATCH]
                data = b"".join(batch)
                head = struct.pack("<IIQQII", 32 + len(data), ABI_VERSION, first + len(batch), 0, len(batch), 0)
                return head + data
            case call:
                raise DriverError(call.name, INVALID_PARAMETER)

    def _status(self) -> bytes:
        encoded = bytearray(STATUS_SIZE)
        struct.pack_into(
            "<IIIIQQIIII", encoded, 0, STATUS_SIZE, ABI_VERSION, self.active, int(self.state), 1, len(self.events),
            *self.statuses,
        )  # fmt: skip
        slot = struct.Struct("<IIQII24s16x")
        for index, item in enumerate(self.registrations):
            slot.pack_into(
                encoded, 48 + index * slot.size, item.registration, item.pid, item.process_start, item.lease_ms,
                item.lease_left_ms, item.endpoints.encode(),
            )  # fmt: skip
        struct.pack_into(f"<{COUNTER_COUNT}Q", encoded, STATUS_SIZE - 8 * COUNTER_COUNT, *self.counters)
        return bytes(encoded)

    def close(self) -> None: ...
