"""Inside TLS without ALPN anything may travel: look at the app's first bytes, then it is HTTP/1 or it is not."""

from __future__ import annotations

from pointsman.engine.commands import Command
from pointsman.engine.events import Side
from pointsman.engine.peek import PEEK_TIMEOUT
from pointsman.engine.rebuild import Context, Rebuild
from pointsman.engine.rebuild_http1 import Http1Rebuild
from pointsman.engine.rebuild_tcp import TcpRebuild
from pointsman.wire.http_head import METHODS

_STARTS = tuple(f"{method} ".encode() for method in METHODS)
_LONGEST = max(map(len, _STARTS))


class DetectRebuild(Rebuild):
    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._held = bytearray()
        self._found: Rebuild | None = None

    def congested(self, side: Side) -> None:
        super().congested(side)
        if self._found is not None:
            self._found.congested(side)

    def drained(self, side: Side, now: float) -> list[Command]:
        super().drained(side, now)
        return self._of(self._found, self._found.drained(side, now)) if self._found is not None else []

    def _received(self, side: Side, data: bytes) -> list[Command]:
        if self._found is not None:
            return self._of(self._found, self._found.receive(side, data, self._now))
        if side is Side.UPSTREAM:  # who speaks first is no HTTP server
            commands = self._use(TcpRebuild(self._context))
            return commands + self._received(side, data)
        return self._look(data)

    def _side_ended(self, side: Side) -> list[Command]:
        commands: list[Command] = []
        if self._found is None:
            commands = self._use(TcpRebuild(self._context))
        assert self._found is not None, "now it is"
        return commands + self._of(self._found, self._found.end(side, self._now))

    def _answered(self, number: int) -> list[Command]:
        return self._of(self._found, self._found.consulted(number, self._now)) if self._found is not None else []

    def _was_late(self) -> list[Command]:
        if self._found is None:
            return self._use(TcpRebuild(self._context))
        return self._of(self._found, self._found.late(self._now))

    def _cut_off(self, why: str) -> list[Command]:
        return self._of(self._found, self._found.cut(self._now, why)) if self._found is not None else []

    def _look(self, data: bytes) -> list[Command]:
        self._held += data
        start = bytes(self._held[:_LONGEST])
        if start.startswith(_STARTS):
            return self._use(Http1Rebuild(self._context))
        if any(one.startswith(start) for one in _STARTS):
            self.deadline = self.deadline or self._now + PEEK_TIMEOUT
            return []
        return self._use(TcpRebuild(self._context))

    def _use(self, found: Rebuild) -> list[Command]:
        self._found = found
        self.protocol = found.protocol
        held, self._held = bytes(self._held), bytearray()
        commands = found.start(self._now)
        return self._of(found, commands + (found.receive(Side.DOWNSTREAM, held, self._now) if held else []))

    def _of(self, found: Rebuild, commands: list[Command]) -> list[Command]:
        """What it has become says how things stand."""
        self.seen_request, self.failure, self.resets = found.seen_request, found.failure, found.resets
        self.finished, self.deadline = found.finished, found.deadline
        self.done.extend(found.take())
        return commands
