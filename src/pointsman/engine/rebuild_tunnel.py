"""What a connection is once it has left HTTP/1: bytes both ways, perhaps looked at as a WebSocket.

It is reached by 101 or by an answered CONNECT.  What travels in it is passed on as it is, unless somebody listens to
WebSocket messages; then `rebuild_websocket` reads and writes them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from pointsman.engine.commands import Command, End, Send
from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.engine.rebuild import NOBODY, Context
from pointsman.engine.rebuild_websocket import HOOKS, WebSocketRebuild
from pointsman.engine.transaction import Transaction
from pointsman.engine.websocket import WebSocketObserver
from pointsman.wire.http1_heads import ResponseHead
from pointsman.wire.websocket_messages import agreed


class Tunnel(Protocol):
    finished: bool
    failure: str | None
    resets: bool
    """A failure ends it with RST."""
    deadline: float | None
    """When `late` is to be called."""

    def start(self) -> None: ...
    def receive(self, side: Side, data: bytes, now: float) -> None: ...
    def end(self, side: Side, now: float) -> None: ...
    def drained(self, now: float) -> None:
        """A side is not congested any more."""

    def consulted(self, number: int, now: float) -> None: ...
    def late(self, now: float) -> None: ...
    def cut(self, now: float, why: str) -> None: ...
    def commands(self) -> list[Command]:
        """Since the last call."""

    def take(self) -> list[Exchange]: ...


class RawTunnel:
    resets = False
    deadline: float | None = None

    def __init__(self, observer: WebSocketObserver | None = None) -> None:
        self.finished = False
        self.failure: str | None = None
        self._observer = observer
        self._out: list[Command] = []
        self._ended: set[Side] = set()
        self._done: list[Exchange] = []

    def start(self) -> None: ...

    def receive(self, side: Side, data: bytes, now: float) -> None:
        del now  # nothing here takes time
        if self._observer is not None:
            self._observer.receive(side, data)
        self._out.append(Send(side.other, data))

    def end(self, side: Side, now: float) -> None:
        del now
        if side not in self._ended:
            self._ended.add(side)
            self._out.append(End(side.other))
            self.finished = len(self._ended) == 2

    def drained(self, now: float) -> None: ...

    def consulted(self, number: int, now: float) -> None: ...

    def late(self, now: float) -> None: ...

    def cut(self, now: float, why: str) -> None:
        if self._observer is not None:
            self._done.append(self._observer.finish(now, why))
            self._observer = None

    def commands(self) -> list[Command]:
        out, self._out = self._out, []
        return out

    def take(self) -> list[Exchange]:
        done, self._done = self._done, []
        return done


def tunnel_after(
    transaction: Transaction, head: ResponseHead, context: Context, now: float, congested: Collection[Side]
) -> Tunnel:
    """`head` is the response that ended HTTP/1; `congested`: the sides that are, as it changes."""
    request = transaction.flow.request
    if head.status != 101 or head.facts.upgrade != b"websocket":
        return RawTunnel()
    observer = WebSocketObserver(request.path[:PATH_LIMIT], transaction.host, now)
    hooks = transaction.hooks & HOOKS
    extensions = b", ".join(value for name, value in head.fields if name.lower() == b"sec-websocket-extensions")
    try:
        deflate = agreed(extensions.decode("latin-1"))
    except ValueError:  # messages that nobody here can read
        hooks = NOBODY
        deflate = None, None
    if not hooks:
        return RawTunnel(observer)
    return WebSocketRebuild(transaction.flow, hooks, context, deflate, observer, congested)
