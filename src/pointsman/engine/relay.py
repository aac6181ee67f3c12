"""Carry bytes both ways, as they are, each direction until its own end.

Half-close is part of TCP: an app that has sent its request and FIN still waits for the answer.  So an end travels on
as an end, and the connection is over when both directions are.  An observer, if there is one, sees the bytes; it
cannot change or delay them.
"""

from __future__ import annotations

from pointsman.engine.ambiguity import AmbiguousError
from pointsman.engine.commands import Command, End, Send
from pointsman.engine.events import DOWNSTREAM, Side
from pointsman.engine.exchange import MORE, RECORDS, Exchange, Observer


class Relay:
    def __init__(self, observer: Observer | None = None, protocol: str = "http/1.1") -> None:
        """`protocol`: what the observer reads."""
        self._observer = observer
        self._protocol = protocol
        self._ended: set[Side] = set()
        self.bytes_up = 0
        self.bytes_down = 0
        self.handshake_deadline: float | None = None
        """A relay shakes no hands."""
        self.failure: str | None = None
        """Of itself a relay never fails; its observer may find that the bytes must not go on."""
        self.moved = 0.0
        """When `carry` was last called."""
        self.news = 0
        """After `carry`: RECORDS, MORE, or nothing."""

    @property
    def finished(self) -> bool:
        return len(self._ended) == 2  # len(Side) is a loop in Python

    @property
    def protocol(self) -> str:
        return self._protocol if self._observer is not None else "tcp"

    def receive(self, side: Side, data: bytes, now: float) -> list[Command]:
        carried = self.carry(side, data, now)
        return [Send(side.other, carried)] if carried else []

    def carry(self, side: Side, data: bytes, now: float) -> bytes:
        """What goes to the other side; `news` says whether something else follows."""
        self.moved = now
        if side is DOWNSTREAM:
            self.bytes_up += len(data)
        else:
            self.bytes_down += len(data)
        if self._observer is not None:
            try:
                self._observer.receive(side, data, now)
            except AmbiguousError as error:
                self.failure = str(error)
                self.news = MORE
                return b""
            if self._observer.done:
                self.news = RECORDS
        return data

    def take_commands(self) -> list[Command]:
        """What follows from what was carried."""
        return []

    def end(self, side: Side, now: float) -> list[Command]:
        if side in self._ended:
            return []
        self._ended.add(side)
        if self._observer is not None:
            self._observer.end(side, now)
        return [End(side.other)]

    def exchanges(self) -> list[Exchange]:
        """Those finished since the last call."""
        return self._observer.take() if self._observer is not None else []

    def cut(self, now: float, why: str) -> None:
        """The connection ends here; what is unfinished is reported with `why`."""
        if self._observer is not None:
            self._observer.cut(now, why)
