"""One TCP connection as the engine's commands see it: write, end, pause, resume, close, abort.

Two ways to have it, chosen by what the event loop can do.  `ReadyStream` waits for readiness: Linux, with asyncio's own
loop and with uvloop.  `TransportStream` goes through asyncio's transports: Windows' Proactor loop, which knows none.
Half-close is why uvloop's transports are not used: with `write_eof` they abort the process in about one relay benchmark
of three (uvloop 0.21 to 0.23, "double free").

A stream decides nothing.  It never calls its owner from within `write`, except to say that too much is queued.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import Protocol, cast

from pointsman.engine.events import Side
from pointsman.server.readiness import READ, WRITE, Readiness, knows_readiness, readiness

HIGH_WATER = 64 * 1024  # bytes waiting to be sent: pause the other side
LOW_WATER = 16 * 1024  # bytes waiting to be sent: let it go on
READ_SIZE = 256 * 1024
KEPT = 8 * 1024 * 1024  # bytes
_buffer = bytearray(READ_SIZE)
_view = memoryview(_buffer)


def keep_freed_blocks() -> None:
    """Let the allocator keep blocks of the size of a read for the next one, on a C library that learns (glibc).

    By default it gives back to the kernel what it frees beyond 128 KiB, and each read of bulk then pays for fresh
    pages: a fourth of the CPU (docs/performance.md).  glibc learns from the free of a block that it had mapped:
    such blocks come from the heap from then on, and twice as much stays there.  Elsewhere this does nothing.
    """
    bytes(KEPT)


class Owner(Protocol):
    def received(self, side: Side, data: bytes) -> None: ...
    def ended(self, side: Side) -> None: ...
    def congested(self, side: Side) -> None: ...
    def drained(self, side: Side) -> None: ...
    def side_closed(self, side: Side, error: Exception | None) -> None:
        """The last call for this side; its socket is closed."""


class Stream(Protocol):
    @property
    def queued(self) -> int:
        """Bytes that wait to be sent."""

    def write(self, data: bytes) -> None: ...
    def end(self) -> None:
        """FIN after what is queued; reading goes on."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None:
        """Close after what is queued."""

    def abort(self) -> None:
        """Close now, with RST."""


class ReadyStream:
    """Sends at once what the kernel takes, and queues the rest; the queue is bounded by the owner's pauses."""

    __slots__ = (
        "_closing", "_congested", "_end_wanted", "_fd", "_loop", "_over", "_owner", "_queue", "_readiness", "_reading",
        "_side", "_socket", "_their_end", "queued",
    )  # fmt: skip

    def __init__(
        self, connection: socket.socket, side: Side, owner: Owner, loop: asyncio.AbstractEventLoop, ready: Readiness
    ) -> None:
        """`connection` is non-blocking and ours from now on; `ready` is the loop's."""
        self._socket = connection
        self._fd = connection.fileno()
        self._side = side
        self._owner = owner
        self._loop = loop
        self._readiness = ready
        self._queue: list[bytes] = []  # a deque takes 700 bytes when empty, and there are two for each connection
        self.queued = 0
        self._congested = False
        self._end_wanted = False
        self._their_end = False
        self._closing = False
        self._over = False
        self._reading = True
        self._readiness.watch(self._fd, READ, self._ready)

    def write(self, data: bytes) -> None:
        if self._closing:
            return
        if not self.queued:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._finish(error)
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._queue.append(data)
        self.queued += len(data)
        if self.queued == len(data):
            self._watch()
        if self.queued > HIGH_WATER and not self._congested:
            self._congested = True
            self._owner.congested(self._side)

    def end(self) -> None:
        if self._closing or self._end_wanted:
            return
        self._end_wanted = True
        if not self.queued:
            self._shut_down()

    def pause(self) -> None:
        if self._reading:
            self._reading = False
            self._watch()

    def resume(self) -> None:
        if not (self._reading or self._their_end or self._closing):
            self._reading = True
            self._watch()

    def close(self) -> None:
        if self._closing:
            return
        self.pause()
        self._closing = True
        if not self.queued:
            self._finish(None)

    def abort(self) -> None:
        if not self._over:
            reset_on_close(self._socket)
            self._finish(None)

    def _watch(self) -> None:
        if self._reading:
            self._readiness.watch(self._fd, READ | WRITE if self.queued else READ, self._ready)
        elif self.queued:
            self._readiness.watch(self._fd, WRITE, self._ready)
        else:  # a socket that nobody wants anything of would tell of its errors again and again
            self._readiness.forget(self._fd)

    def _ready(self, events: int) -> None:
        if events != READ:
            if self.queued:
                self._writable()
            if not self._reading:
                return
        try:
            size = self._socket.recv_into(_buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._finish(error)
            return
        if size:
            self._owner.received(self._side, bytes(_view[:size]))
        else:
            self.pause()
            self._their_end = True
            self._owner.ended(self._side)

    def _writable(self) -> None:
        try:
            while self._queue:
                data = self._queue[0]
                sent = self._socket.send(data)
                self.queued -= sent
                if sent < len(data):
                    self._queue[0] = data[sent:]
                    break
                del self._queue[0]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._finish(error)
            return
        if not self._queue:
            if self._closing:
                self._finish(None)
                return
            self._watch()
            if self._end_wanted:
                self._shut_down()
        if self._congested and self.queued <= LOW_WATER:
            self._congested = False
            self._owner.drained(self._side)

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # reset in this very moment; the next read tells

    def _finish(self, error: OSError | None) -> None:
        """Gone now for the system, and in the next turn of the loop for the owner."""
        if self._over:
            return
        self._closing = self._over = True
        self._reading = False
        self._queue.clear()
        self.queued = 0
        self._readiness.forget(self._fd)
        self._socket.close()
        self._loop.call_soon(self._owner.side_closed, self._side, error)


class TransportStream(asyncio.Protocol):
    def __init__(self, side: Side, owner: Owner) -> None:
        self._side = side
        self._owner = owner
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, connection: socket.socket, side: Side, owner: Owner) -> TransportStream:
        """`connection` is ours from now on."""
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.connect_accepted_socket(lambda: cls(side, owner), connection)
        except BaseException:  # cancelled too
            connection.close()
            raise
        return stream

    # What the engine asks for.

    @property
    def queued(self) -> int:
        return self._here.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        self._here.write(data)

    def end(self) -> None:
        if not self._here.is_closing():
            with suppress(OSError):  # reset in this very moment; connection_lost tells
                self._here.write_eof()

    def pause(self) -> None:
        self._here.pause_reading()

    def resume(self) -> None:
        self._here.resume_reading()

    def close(self) -> None:
        self._here.close()

    def abort(self) -> None:
        connection = self._here.get_extra_info("socket")
        if connection is not None:
            reset_on_close(connection)
        self._here.abort()

    @property
    def _here(self) -> asyncio.Transport:
        assert self._transport is not None, "`open` returns when the transport is here"
        return self._transport

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)

    def data_received(self, data: bytes) -> None:
        self._owner.received(self._side, data)

    def eof_received(self) -> bool:
        self._owner.ended(self._side)
        return True  # keep it open: it may still read

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.side_closed(self._side, exc)

    def pause_writing(self) -> None:
        self._owner.congested(self._side)

    def resume_writing(self) -> None:
        self._owner.drained(self._side)


async def open_stream(connection: socket.socket, side: Side, owner: Owner) -> Stream:
    """The kind that this event loop can drive."""
    loop = asyncio.get_running_loop()
    if knows_readiness(loop):
        return ReadyStream(connection, side, owner, loop, readiness(loop))
    return await TransportStream.open(connection, side, owner)


def reset_on_close(connection: socket.socket) -> None:
    """Make the coming close an RST: the peer sees a failure, not an end."""
    linger = b"\x01\x00\x00\x00" if os.name == "nt" else b"\x01\x00\x00\x00\x00\x00\x00\x00"
    with suppress(OSError):  # already dead, which is what we wanted
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
