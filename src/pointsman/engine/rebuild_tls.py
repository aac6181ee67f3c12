"""TLS MITM whose plaintext is not passed on as it is but goes through a rebuild.

The handshakes, their order and their honesty are `interception`'s.  What differs begins when both are done: a rebuild
says what each side gets, when it ends, and when it is to wait.
"""

from __future__ import annotations

from collections.abc import Callable

from pointsman.engine.commands import Command, End, Send
from pointsman.engine.events import DOWNSTREAM, UPSTREAM, Side
from pointsman.engine.exchange import MORE, RECORDS, Exchange
from pointsman.engine.interception import Interception, UpstreamTls
from pointsman.engine.origin_fault import Terms
from pointsman.engine.rebuild import Rebuild
from pointsman.engine.sessions import Sessions
from pointsman.engine.tls import TlsError, TlsSide

MakeRebuild = Callable[[str | None], Rebuild]
"""For the ALPN protocol that both ends agreed on, or None."""


class RebuiltInterception(Interception):
    __slots__ = ("_make_rebuild", "_rebuild", "failed_side")

    def __init__(
        self,
        name: str,
        alpn: tuple[str, ...],
        upstream_tls: UpstreamTls,
        now: float,
        *,
        port: int,
        sessions: Sessions,
        terms: Terms,
        make_rebuild: MakeRebuild,
    ) -> None:
        super().__init__(name, alpn, upstream_tls, now, port=port, sessions=sessions, terms=terms)
        self._make_rebuild = make_rebuild
        self._rebuild: Rebuild | None = None
        self.failed_side: Side | None = None
        """Whose handshake failed: the origin's, or with us the app's."""

    def own(self, side: Side) -> TlsSide | None:
        """None: it has not begun."""
        return self._upstream if side is UPSTREAM else self._downstream

    @property
    def fault(self) -> str:
        """Why it failed."""
        return self.failure or self._fault or "the connection was lost"

    @property
    def finished(self) -> bool:
        return len(self._ended) == 2 or (self._rebuild is not None and self._rebuild.finished)

    @property
    def resets(self) -> bool:
        return self._rebuild is not None and self._rebuild.resets

    @property
    def protocol(self) -> str:
        if self._rebuild is None:
            return super().protocol
        if not self._rebuild.seen_request:
            return "tls"
        return "h2" if self._rebuild.protocol == "h2" else "https"

    def end(self, side: Side, now: float) -> list[Command]:
        if self._rebuild is None or self.failure is not None:
            return super().end(side, now)
        if side in self._ended:
            return []
        self._ended.add(side)
        return self._end_in(self._rebuild, side, now)

    def congested(self, side: Side) -> None:
        if self._rebuild is not None:
            self._rebuild.congested(side)

    def drained(self, side: Side, now: float) -> list[Command]:
        return self._carried_out(self._rebuild.drained(side, now)) if self._rebuild is not None else []

    def consulted(self, number: int, now: float) -> list[Command]:
        return self._carried_out(self._rebuild.consulted(number, now)) if self._rebuild is not None else []

    def late(self, now: float) -> list[Command]:
        if self._rebuild is None:
            return self.handshake_late()
        return self._carried_out(self._rebuild.late(now))

    def exchanges(self) -> list[Exchange]:
        return self._rebuild.take() if self._rebuild is not None else super().exchanges()

    def cut_off(self, now: float, why: str) -> list[Command]:
        """As `cut`; returns questions that nobody waits for."""
        return self._rebuild.cut(now, why) if self._rebuild is not None else []

    def handshake_late(self) -> list[Command]:
        self.failed_side = UPSTREAM if self._downstream is None else DOWNSTREAM
        return super().handshake_late()

    def lost(self, side: Side) -> None:
        super().lost(side)
        if self._rebuild is None and self.failed_side is None:
            begun = self.own(side)
            self.failed_side = side if begun is not None and not begun.established else None

    def _fail(self, side: Side, failed: TlsError) -> list[Command]:
        commands = super()._fail(side, failed)
        if self._rebuild is None and self.step_aside is None:
            self.failed_side = side
        return commands

    def _ended_early(self, side: Side) -> list[Command]:
        commands = super()._ended_early(side)
        if self.failure is not None and side is UPSTREAM:
            self.failed_side = side
        return commands

    def _downstream_handshake(self, now: float) -> list[Command]:
        early, self._ended = self._ended, set()  # an origin that has ended by now: told after what it has sent
        commands = super()._downstream_handshake(now)
        for side in early:
            if self._rebuild is None:
                self._ended.add(side)
            else:
                commands += self.end(side, now)
        return commands

    def _stream(self, side: Side, now: float, data: bytes = b"") -> list[Command]:
        if self._rebuild is not None:
            return super()._stream(side, now, data)
        # The first call, when both handshakes are done; it is made for both sides.
        self._rebuild = rebuild = self._make_rebuild(self._upstream.alpn())
        return [*self._carried_out(rebuild.start(now)), *super()._stream(side, now)]

    def carry(self, side: Side, data: bytes, now: float) -> bytes:
        """Decrypt `data` and what came before it, and give it to the rebuild.

        What it mostly says, that something goes to the other side and no more, is the answer; else there is `news`.
        """
        self.moved = now
        rebuild = self._rebuild
        assert rebuild is not None and self._downstream is not None, "both handshakes are done"
        own, other = (self._downstream, self._upstream) if side is DOWNSTREAM else (self._upstream, self._downstream)
        carried = b""
        try:
            plaintext = own.decrypt(data)
            if plaintext:
                if side is DOWNSTREAM:
                    self.bytes_up += len(plaintext)
                else:
                    self.bytes_down += len(plaintext)
                    if not self._has_answered:
                        self._answers(now)
                commands = rebuild.receive(side, plaintext, now)
                first = commands[0] if len(commands) == 1 else None
                if isinstance(first, Send) and first.side is not side:
                    carried = other.encrypt(first.data)
                    self._follow(rebuild)
                else:
                    self._commands += self._carried_out(commands)
            if own.closed_by_peer and side not in self._closed:
                self._closed.add(side)
                self._commands += self._carried_out(rebuild.end(side, now))
            if own.outgoing.pending:  # an answer of TLS itself, such as to a key update
                self._commands += self._flush(side)
        except TlsError as failed:
            self._commands += self._fail(side, failed)
        if self._commands or rebuild.finished or rebuild.deadline or self.failure:
            self.news = MORE
        elif rebuild.done:
            self.news = RECORDS
        return carried

    def _end_in(self, rebuild: Rebuild, side: Side, now: float) -> list[Command]:
        """FIN.  Without a close_notify before it the stream was cut off, and so is what the other side gets."""
        if side in self._closed:
            return []
        return self._carried_out(rebuild.end(side, now), cut_off=side.other)

    def _carried_out(self, commands: list[Command], cut_off: Side | None = None) -> list[Command]:
        """What the rebuild says about plaintext, in TLS.  An end is a close_notify and FIN; to the side `cut_off`,
        whose peer went without the former, it is FIN alone."""
        assert self._rebuild is not None, "these are its commands"
        result: list[Command] = []
        for command in commands:
            if isinstance(command, Send):
                to = command.side
                result.append(Send(to, self._own(to).encrypt(command.data)))
            elif isinstance(command, End):
                if command.side is not cut_off:
                    self._own(command.side).close()
                result += [*self._flush(command.side), command]
            else:
                result.append(command)
        self._follow(self._rebuild)
        return result

    def _follow(self, rebuild: Rebuild) -> None:
        self.handshake_deadline = rebuild.deadline
        if self.failure is None:
            self.failure = rebuild.failure
