"""Carry out what the engine says about one connection: two transports, a timer, a dial and a leaf under way.

It decides nothing.  Events of asyncio become events of the engine, commands become calls, in order.  When `run`
returns, both sockets are closed and nothing of the connection is left.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never, cast

from pointsman.authority.leaf_cache import LeafCache
from pointsman.engine.commands import Abort, Close, Command, Dial, End, MintLeaf, Pause, Report, Resume, Send
from pointsman.engine.connection import Connection
from pointsman.engine.events import (
    Congested,
    Connected,
    ConnectFailed,
    Drained,
    Ended,
    Event,
    LeafFailed,
    LeafReady,
    Lost,
    Received,
    Side,
    Stopping,
)
from pointsman.engine.flow_record import FlowRecord
from pointsman.server.dial import describe, dial, reset_on_close
from pointsman.system.interface import RedirectSource
from pointsman.wire.abi import Address

HIGH_WATER = 64 * 1024  # bytes waiting to be sent: pause the other side
LOW_WATER = 16 * 1024  # bytes waiting to be sent: let it go on


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections share."""

    redirects: RedirectSource
    leaves: LeafCache
    threads: Executor
    """For issuing leafs, off the event loop."""
    report: Callable[[FlowRecord], None]


class ConnectionTask:
    def __init__(
        self, connection: Connection, destination: tuple[Address, int], records: bytes, services: Services
    ) -> None:
        self._connection = connection
        self._destination = destination
        self._records = records
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._transports: dict[Side, asyncio.Transport] = {}
        self._events: deque[Event] = deque()
        self._handling = False
        self._timer: asyncio.TimerHandle | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._over = asyncio.Event()
        self._bug: Exception | None = None

    async def run(self, accepted: socket.socket) -> None:
        """From the accepted socket, which is ours from now on, to the last byte.  Raises what was a bug of ours."""
        try:
            async with asyncio.TaskGroup() as self._group:
                await self._loop.connect_accepted_socket(lambda: _Edge(Side.DOWNSTREAM, self), accepted)
                await self._over.wait()
                self._cancel_work()
        finally:
            self._tear_down()
            accepted.close()
        if self._bug is not None:
            raise self._bug

    def stop(self) -> None:
        """Do not wait for this connection any longer."""
        self.handle(Stopping())

    def handle(self, event: Event) -> None:
        # A write may call back at once (pause_writing): such events wait until the commands before them are done.
        self._events.append(event)
        if not self._handling and self._bug is None:
            self._guarded(self._handle_events)

    def side_opened(self, side: Side, transport: asyncio.Transport) -> None:
        self._transports[side] = transport
        if self._connection.closing:
            transport.abort()
        elif side is Side.UPSTREAM:
            self.handle(Connected())
        else:
            self._guarded(lambda: self._do(self._connection.start(self._loop.time())))

    def side_closed(self, side: Side, error: Exception | None) -> None:
        self._transports.pop(side, None)
        if not self._connection.closing and self._bug is None:
            self.handle(Lost(side, describe(error) if isinstance(error, OSError) else str(error or "closed")))
        self._check_over()

    def _handle_events(self) -> None:
        self._handling = True
        try:
            while self._events:
                self._do(self._connection.handle(self._events.popleft(), self._loop.time()))
        finally:
            self._handling = False

    def _guarded(self, step: Callable[[], None]) -> None:
        """Asyncio would log a bug and leave the other side open; here it ends the connection, and `run` raises it."""
        try:
            step()
            self._arm()
        except Exception as bug:
            self._bug = bug
            self._abort()
            self._over.set()

    def _do(self, commands: Iterable[Command]) -> None:
        for command in commands:
            match command:
                case Send(side, data):
                    transport = self._transports.get(side)
                    if transport is not None:
                        transport.write(data)
                case Pause(side):
                    if side in self._transports:
                        self._transports[side].pause_reading()
                case Resume(side):
                    if side in self._transports:
                        self._transports[side].resume_reading()
                case End(side):
                    self._end(side)
                case Dial():
                    self._start(self._dial())
                case MintLeaf():
                    self._mint(command)
                case Report(record):
                    self._services.report(record)
                case Close():
                    self._close()
                case Abort():
                    self._abort()
                case _:
                    assert_never(command)

    def _end(self, side: Side) -> None:
        transport = self._transports.get(side)
        if transport is None or transport.is_closing():
            return
        with suppress(OSError):  # reset in this very moment; connection_lost tells
            transport.write_eof()

    def _close(self) -> None:
        self._cancel_work()
        for transport in list(self._transports.values()):
            transport.close()
        self._check_over()

    def _abort(self) -> None:
        self._cancel_work()
        for transport in list(self._transports.values()):
            connection = transport.get_extra_info("socket")
            if connection is not None:
                reset_on_close(connection)
            transport.abort()
        self._check_over()

    def _check_over(self) -> None:
        if self._connection.closing and not self._transports:
            self._over.set()

    def _tear_down(self) -> None:
        """Harmless when all is done; the whole truth when `run` was cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        for transport in list(self._transports.values()):
            transport.abort()

    # Time.

    def _arm(self) -> None:
        """The timer may ring too early, never too late: a deadline that moved on is found when it rings."""
        if self._over.is_set():
            return
        deadline = self._connection.deadline
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._guarded(lambda: self._do(self._connection.tick(self._loop.time())))

    # Work that takes time.

    def _start(self, work: Coroutine[None, None, None]) -> None:
        assert self._group is not None, "commands come while `run` runs"
        task = self._group.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _cancel_work(self) -> None:
        for task in self._work:
            task.cancel()

    async def _dial(self) -> None:
        try:
            upstream = await dial(self._destination, self._records, self._services.redirects)
        except OSError as error:
            self.handle(ConnectFailed(describe(error)))
            return
        try:
            await self._loop.create_connection(lambda: _Edge(Side.UPSTREAM, self), sock=upstream)
        except asyncio.CancelledError:
            upstream.close()
            raise

    def _mint(self, command: MintLeaf) -> None:
        ready = self._services.leaves.cached(command.names, command.alpn)
        if ready is not None:
            self.handle(LeafReady(ready))
        else:
            self._start(self._mint_in_thread(command))

    async def _mint_in_thread(self, command: MintLeaf) -> None:
        try:
            context = await self._loop.run_in_executor(
                self._services.threads, self._services.leaves.get, command.names, command.alpn
            )
        except (ValueError, OSError) as error:
            self.handle(LeafFailed(str(error)))
            return
        self.handle(LeafReady(context))


class _Edge(asyncio.Protocol):
    """One side's socket as asyncio shows it."""

    def __init__(self, side: Side, task: ConnectionTask) -> None:
        self._side = side
        self._task = task

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)
        stream.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self._task.side_opened(self._side, stream)

    def data_received(self, data: bytes) -> None:
        self._task.handle(Received(self._side, data))

    def eof_received(self) -> bool:
        self._task.handle(Ended(self._side))
        return True  # keep it open: it may still read

    def connection_lost(self, exc: Exception | None) -> None:
        self._task.side_closed(self._side, exc)

    def pause_writing(self) -> None:
        self._task.handle(Congested(self._side))

    def resume_writing(self) -> None:
        self._task.handle(Drained(self._side))
