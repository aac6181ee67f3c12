"""Carry out what the engine says about one connection: two streams, a timer, a dial and a leaf under way.

It decides nothing.  What the event loop tells becomes events of the engine, commands become calls, in order.  When
`run` returns, both sockets are closed and nothing of the connection is left.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import assert_never

from pointsman.authority.leaf_cache import LeafCache
from pointsman.engine.commands import (
    Abort,
    Close,
    Command,
    Consult,
    Dial,
    End,
    Learn,
    MintLeaf,
    Pause,
    Report,
    Resume,
    Send,
)
from pointsman.engine.connection import Connection
from pointsman.engine.events import (
    Congested,
    Connected,
    ConnectFailed,
    Consulted,
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
from pointsman.policy.upstreams import Upstream
from pointsman.server.dial import ReadyDial, describe, dial, prepared
from pointsman.server.hooks import Hooks
from pointsman.server.readiness import knows_readiness, readiness
from pointsman.server.stream import ReadyStream, Stream, open_stream
from pointsman.server.tunnel_stream import TunnelStream
from pointsman.server.upstream_dial import Upstreams
from pointsman.system.interface import RedirectSource
from pointsman.wire.abi import Address


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections share."""

    redirects: RedirectSource
    upstreams: Upstreams
    leaves: LeafCache
    threads: Executor
    """For issuing leafs, off the event loop."""
    report: Callable[[FlowRecord], None]
    learn: Callable[[str | None, str, str, float], None]
    """App, host, reason, and seconds since the app's hello: see `engine.commands.Learn`."""
    hooks: Hooks | None = None
    """None: nobody listens."""


class ConnectionTask:
    def __init__(
        self, connection: Connection, destination: tuple[Address, int], records: bytes, services: Services
    ) -> None:
        self._connection = connection
        self._destination = destination
        self._records = records
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._streams: dict[Side, Stream] = {}
        self._events: list[Event] = []
        self._handling = False
        self._timer: asyncio.TimerHandle | None = None
        self._dialling: ReadyDial | None = None
        self._dropped = 0
        """Upstream streams that the engine knows no more, and that have not said their last word."""
        self._work: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._bug: Exception | None = None

    async def run(self, accepted: socket.socket) -> None:
        """From the accepted socket, which is ours from now on, to the last byte.  Raises what was a bug of ours."""
        try:
            self._side_opened(Side.DOWNSTREAM, await open_stream(accepted, Side.DOWNSTREAM, self))
            await self._over
        finally:
            await self._tear_down()
            accepted.close()
        if self._bug is not None:
            raise self._bug

    @property
    def app(self) -> str | None:
        return self._connection.app

    def stop(self) -> None:
        """Do not wait for this connection any longer."""
        self._handle(Stopping())

    # What a stream tells.

    def received(self, side: Side, data: bytes) -> None:
        """As `_handle(Received(side, data))`, by the shortest way: this is where the time goes."""
        carrier = self._connection.carrier
        if carrier is None:
            self._handle(Received(side, data))
            return
        try:
            carried = carrier.carry(side, data, self._time())
            if carried:
                other = self._streams.get(side.other)
                if other is not None:
                    other.write(carried)
            if carrier.news:
                self._do(self._connection.take_news(self._time()))
                if self._connection.closing:
                    self._arm()
        except Exception as bug:
            self._crashed(bug)

    def ended(self, side: Side) -> None:
        self._handle(Ended(side))

    def congested(self, side: Side) -> None:
        self._handle(Congested(side))

    def drained(self, side: Side) -> None:
        self._handle(Drained(side))

    def side_closed(self, side: Side, error: Exception | None) -> None:
        if self._dropped and side is Side.UPSTREAM:
            self._dropped -= 1
            return
        self._streams.pop(side, None)
        if not self._connection.closing and self._bug is None:
            self._handle(Lost(side, describe(error) if isinstance(error, OSError) else str(error or "closed")))
        self._check_over()

    def _side_opened(self, side: Side, stream: Stream, via: str | None = None) -> None:
        self._streams[side] = stream
        if self._connection.closing:
            stream.abort()
        elif side is Side.UPSTREAM:
            self._handle(Connected(via))
        else:
            self._guarded(lambda: self._do(self._connection.start(self._loop.time())))

    # Events and commands.

    def _handle(self, event: Event) -> None:
        # A write may call back at once (congested): such events wait until the commands before them are done.
        self._events.append(event)
        if not self._handling and self._bug is None:
            self._guarded(self._handle_events)

    def _handle_events(self) -> None:
        self._handling = True
        try:
            while self._events:
                self._do(self._connection.handle(self._events.pop(0), self._loop.time()))
        finally:
            self._handling = False

    def _guarded(self, step: Callable[[], None]) -> None:
        """The loop would log a bug and leave the other side open; here it ends the connection, and `run` raises it."""
        try:
            step()
            if self._connection.carrier is None:
                self._arm()
        except Exception as bug:
            self._crashed(bug)

    def _crashed(self, bug: Exception) -> None:
        self._bug = bug
        self._abort()
        self._set_over()

    def _do(self, commands: Iterable[Command]) -> None:
        streams = self._streams
        for command in commands:
            match command:
                case Send(side, data):
                    if side in streams:
                        streams[side].write(data)
                case Report(record):
                    self._services.report(record)
                case Consult():
                    self._consult(command)
                case Pause(side):
                    if side in streams:
                        streams[side].pause()
                case Resume(side):
                    if side in streams:
                        streams[side].resume()
                case End(side):
                    if side in streams:
                        streams[side].end()
                case Dial(upstream, host, destination):
                    self._destination = destination or self._destination
                    self._dial(upstream, host)
                case MintLeaf():
                    self._mint(command)
                case Learn(host, reason, lasted):
                    self._services.learn(self._connection.app, host, reason, lasted)
                case Close():
                    self._close()
                case Abort():
                    self._abort()
                case _:
                    assert_never(command)

    def _consult(self, command: Consult) -> None:
        hooks, number = self._services.hooks, command.number
        if hooks is None or hooks.run(command.hook, command.subject, lambda: self._handle(Consulted(number))):
            self._events.append(Consulted(number))

    def _close(self) -> None:
        self._cancel_work()
        for stream in list(self._streams.values()):
            stream.close()
        self._check_over()

    def _abort(self) -> None:
        self._cancel_work()
        for stream in list(self._streams.values()):
            stream.abort()
        self._check_over()

    def _check_over(self) -> None:
        if self._connection.closing and not self._streams:
            self._set_over()

    def _set_over(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def _tear_down(self) -> None:
        """Harmless when all is done; the whole truth when `run` was cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        for stream in list(self._streams.values()):
            stream.abort()
        self._cancel_work()
        if self._work:
            await asyncio.wait(self._work)

    # Time.

    def _arm(self) -> None:
        """The timer may ring too early, never too late: a deadline that moved on is found when it rings."""
        if self._over.done():
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
        if self._timer is None:
            self._arm()

    # Work that takes time.

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(self._watched(work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        task.add_done_callback(lambda _: work.close())  # cancelled before its first step, it was never awaited

    async def _watched(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as bug:
            self._crashed(bug)

    def _cancel_work(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
        for task in self._work:
            task.cancel()

    def _dial(self, upstream: Upstream | None, host: str | None) -> None:
        self._drop_upstream()
        if upstream is not None:
            self._start(self._dial_through(upstream, host))
        else:
            self._dial_straight()

    def _drop_upstream(self) -> None:
        """What an earlier dial has led to; before the layers run there is no other work."""
        self._cancel_work()
        stream = self._streams.pop(Side.UPSTREAM, None)
        if stream is not None:
            self._dropped += 1
            stream.close()

    async def _dial_through(self, upstream: Upstream, host: str | None) -> None:
        try:
            dialled = await self._services.upstreams.dial(upstream, self._destination, host, self._records)
        except OSError as error:
            self._handle(ConnectFailed(describe(error)))
            return
        stream: Stream
        if dialled.layers:
            stream = await TunnelStream.open(dialled.socket, dialled.layers, self)
        else:
            stream = await open_stream(dialled.socket, Side.UPSTREAM, self)
        self._side_opened(Side.UPSTREAM, stream, dialled.via)
        if dialled.leftover:
            self.received(Side.UPSTREAM, dialled.leftover)

    def _dial_straight(self) -> None:
        if not knows_readiness(self._loop):
            self._start(self._dial_in_task())
            return
        try:
            upstream = prepared(self._destination[0], self._records, self._services.redirects)
        except OSError as error:
            self._handle(ConnectFailed(describe(error)))
            return
        self._dialling = ReadyDial(upstream, self._dialled)
        self._dialling.start(self._destination)

    def _dialled(self, upstream: socket.socket, error: OSError | None) -> None:
        self._dialling = None  # or the two would hold each other, and all that we hold, until the cycle collector looks
        if self._bug is not None or self._connection.closing:
            if error is None:
                readiness().forget(upstream.fileno())
            upstream.close()
        elif error is not None:
            self._handle(ConnectFailed(describe(error)))
        else:
            self._side_opened(Side.UPSTREAM, ReadyStream(upstream, Side.UPSTREAM, self))

    async def _dial_in_task(self) -> None:
        try:
            upstream = await dial(self._destination, self._records, self._services.redirects)
        except OSError as error:
            self._handle(ConnectFailed(describe(error)))
            return
        self._side_opened(Side.UPSTREAM, await open_stream(upstream, Side.UPSTREAM, self))

    def _mint(self, command: MintLeaf) -> None:
        ready = self._services.leaves.cached(command.names, command.alpn, command.revocations)
        if ready is not None:
            self._handle(LeafReady(ready))
        else:
            self._start(self._mint_in_thread(command))

    async def _mint_in_thread(self, command: MintLeaf) -> None:
        try:
            context = await self._loop.run_in_executor(
                self._services.threads, self._services.leaves.get, command.names, command.alpn, command.revocations
            )
        except (ValueError, OSError) as error:
            self._handle(LeafFailed(str(error)))
            return
        self._handle(LeafReady(context))
