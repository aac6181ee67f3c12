"""Carry out what the engine says about one connection: two streams, a timer, a dial and a leaf under way.

It decides nothing.  What the event loop tells becomes events of the engine, commands become calls, in order.  When it
says that it is over, both sockets are closed and nothing of the connection is left.  It is no coroutine: all it does
is answer calls, and a task of asyncio's for each connection would cost more than it has to say.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

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
    DOWNSTREAM,
    UPSTREAM,
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
    __slots__ = (
        "__weakref__", "_accepted", "_bug", "_connection", "_destination", "_dialling", "_dropped", "_events",
        "_handling", "_is_over", "_loop", "_ready", "_records", "_services", "_streams", "_tell_over", "_time",
        "_timer", "_work",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        destination: tuple[Address, int],
        records: bytes,
        services: Services,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._connection = connection
        self._destination = destination
        self._records = records
        self._services = services
        self._loop = loop
        self._time = loop.time
        self._ready = readiness(loop) if knows_readiness(loop) else None
        self._streams: dict[Side, Stream] = {}
        self._events: list[Event] = []
        self._handling = False
        self._timer: asyncio.TimerHandle | None = None
        self._dialling: ReadyDial | None = None
        self._dropped = 0
        """Upstream streams that the engine knows no more, and that have not said their last word."""
        self._work: set[asyncio.Task[None]] = set()
        self._accepted: socket.socket | None = None
        """While it is no stream yet: a task that is cancelled before its first step closes nothing."""
        self._is_over = False
        self._tell_over: Callable[[ConnectionTask, Exception | None], None] | None = None
        self._bug: Exception | None = None

    def start(self, accepted: socket.socket, over: Callable[[ConnectionTask, Exception | None], None]) -> None:
        """From the accepted socket, which is ours from now on, to the last byte.

        Then `over` is called, once and perhaps before this returns, with what was a bug of ours if there was one.
        """
        self._tell_over = over
        if self._ready is None:
            self._accepted = accepted
            self._start(self._open_accepted(accepted))
            return
        try:
            stream = ReadyStream(accepted, DOWNSTREAM, self, self._loop, self._ready)
        except Exception as bug:
            accepted.close()
            self._crashed(bug)
        else:
            self._side_opened(DOWNSTREAM, stream)

    async def _open_accepted(self, accepted: socket.socket) -> None:
        stream = await open_stream(accepted, DOWNSTREAM, self)
        self._accepted = None
        self._side_opened(DOWNSTREAM, stream)

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
                records, commands = self._connection.take_news(self._time())
                for record in records:
                    self._services.report(record)
                if commands or carrier.handshake_deadline is not None:  # a deadline may come without a word
                    self._handle_events(commands)
        except Exception as bug:
            self._crashed(bug)

    def ended(self, side: Side) -> None:
        self._handle(Ended(side))

    def congested(self, side: Side) -> None:
        self._handle(Congested(side))

    def drained(self, side: Side) -> None:
        self._handle(Drained(side))

    def side_closed(self, side: Side, error: Exception | None) -> None:
        if self._dropped and side is UPSTREAM:
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
        elif side is UPSTREAM:
            self._handle(Connected(via))
        else:
            try:
                commands = self._connection.start(self._time())
            except Exception as bug:
                self._crashed(bug)
            else:
                self._handle_events(commands)

    # Events and commands.

    def _handle(self, event: Event) -> None:
        # A write may call back at once (congested): such events wait until the commands before them are done.
        self._events.append(event)
        if not self._handling and self._bug is None:
            self._handle_events()

    def _handle_events(self, first: Sequence[Command] = ()) -> None:
        """The loop would log a bug and leave the other side open; here it ends the connection and goes to `over`."""
        connection = self._connection
        self._handling = True
        try:
            if first:
                self._do(first)
            while self._events:
                self._do(connection.handle(self._events.pop(0), self._time()))
            carrier = connection.carrier
            if carrier is None or carrier.handshake_deadline is not None:  # else it only moves later
                self._arm()
        except Exception as bug:
            self._crashed(bug)
        finally:
            self._handling = False

    def _crashed(self, bug: Exception) -> None:
        self._bug = bug
        self._abort()
        self._set_over()

    def _do(self, commands: Iterable[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                stream = self._streams.get(command.side)
                if stream is not None:
                    stream.write(command.data)
            elif isinstance(command, Report):
                self._services.report(command.record)
            else:
                CARRY_OUT[type(command)](self, command)

    def _pause(self, command: Pause) -> None:
        if command.side in self._streams:
            self._streams[command.side].pause()

    def _resume(self, command: Resume) -> None:
        if command.side in self._streams:
            self._streams[command.side].resume()

    def _end(self, command: End) -> None:
        if command.side in self._streams:
            self._streams[command.side].end()

    def _learn(self, command: Learn) -> None:
        self._services.learn(self._connection.app, command.host, command.reason, command.lasted)

    def _consult(self, command: Consult) -> None:
        hooks, number = self._services.hooks, command.number
        if hooks is None or hooks.run(command.hook, command.subject, lambda: self._handle(Consulted(number))):
            self._events.append(Consulted(number))

    def _close(self, _: Close) -> None:
        self._cancel_work()
        for stream in list(self._streams.values()):
            stream.close()
        self._check_over()

    def _abort(self, _: Abort | None = None) -> None:
        self._cancel_work()
        for stream in list(self._streams.values()):
            stream.abort()
        self._check_over()

    def _check_over(self) -> None:
        if self._connection.closing and not self._streams:
            self._set_over()

    def _set_over(self) -> None:
        """Said once what is still under way has ended, too."""
        if not self._is_over:
            self._is_over = True
            if self._timer is not None:
                self._timer.cancel()
        if self._work:
            return
        if self._accepted is not None:
            self._accepted.close()
        if self._tell_over is not None:
            over, self._tell_over = self._tell_over, None
            over(self, self._bug)

    # Time.

    def _arm(self) -> None:
        """The timer may ring too early, never too late: a deadline that moved on is found when it rings."""
        if self._is_over:
            return
        deadline = self._connection.deadline
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            commands = self._connection.tick(self._time())
        except Exception as bug:
            self._crashed(bug)
            return
        self._handle_events(commands)
        if self._timer is None:
            self._arm()

    # Work that takes time.

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(self._watched(work))
        self._work.add(task)
        task.add_done_callback(lambda task: self._worked(task, work))

    def _worked(self, task: asyncio.Task[None], work: Coroutine[None, None, None]) -> None:
        work.close()  # cancelled before its first step, it was never awaited
        self._work.discard(task)
        if self._is_over:
            self._set_over()

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

    def _dial(self, command: Dial) -> None:
        self._destination = command.destination or self._destination
        self._drop_upstream()
        if command.upstream is not None:
            self._start(self._dial_through(command.upstream, command.host))
        else:
            self._dial_straight()

    def _drop_upstream(self) -> None:
        """What an earlier dial has led to; before the layers run there is no other work."""
        self._cancel_work()
        stream = self._streams.pop(UPSTREAM, None)
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
            stream = await open_stream(dialled.socket, UPSTREAM, self)
        self._side_opened(UPSTREAM, stream, dialled.via)
        if dialled.leftover:
            self.received(UPSTREAM, dialled.leftover)

    def _dial_straight(self) -> None:
        if self._ready is None:
            self._start(self._dial_in_task())
            return
        try:
            upstream = prepared(self._destination[0], self._records, self._services.redirects)
        except OSError as error:
            self._handle(ConnectFailed(describe(error)))
            return
        self._dialling = ReadyDial(upstream, self._dialled, self._loop, self._ready)
        self._dialling.start(self._destination)

    def _dialled(self, upstream: socket.socket, error: OSError | None) -> None:
        self._dialling = None  # or the two would hold each other, and all that we hold, until the cycle collector looks
        ready = self._ready
        assert ready is not None, "it has dialled"
        if self._bug is not None or self._connection.closing:
            if error is None:
                ready.forget(upstream.fileno())
            upstream.close()
        elif error is not None:
            self._handle(ConnectFailed(describe(error)))
        else:
            self._side_opened(UPSTREAM, ReadyStream(upstream, UPSTREAM, self, self._loop, ready))

    async def _dial_in_task(self) -> None:
        try:
            upstream = await dial(self._destination, self._records, self._services.redirects)
        except OSError as error:
            self._handle(ConnectFailed(describe(error)))
            return
        self._side_opened(UPSTREAM, await open_stream(upstream, UPSTREAM, self))

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


CARRY_OUT: Final[dict[type[Command], Callable[[ConnectionTask, Any], None]]] = {
    Dial: ConnectionTask._dial,
    End: ConnectionTask._end,
    Pause: ConnectionTask._pause,
    Resume: ConnectionTask._resume,
    MintLeaf: ConnectionTask._mint,
    Learn: ConnectionTask._learn,
    Consult: ConnectionTask._consult,
    Close: ConnectionTask._close,
    Abort: ConnectionTask._abort,
}
"""What `_do` does not do itself, since there is one for each chunk of bytes and for each exchange."""
