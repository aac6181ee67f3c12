"""The layer that does not pass bytes on but reads messages and writes them anew: what the kinds of it have in common.

A `Rebuild` gets plaintext of both sides and returns commands with plaintext; it must not know whether that travels in
TLS.  `Rebuilt` makes one the layer of a connection in clear, `interception` puts one between two TLS sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from pointsman.engine.commands import Command
from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_facts import ContextFacts
from pointsman.engine.flow_record import Flow
from pointsman.engine.messages import Subject
from pointsman.engine.request_policy import RequestPolicy
from pointsman.policy.decision import Decision

HELD_LIMIT = 64 * 1024  # bytes of one side that wait until they can be looked at; then it is paused
LINGER = 2.0  # seconds for the app to take our last words before everything is closed
NOBODY: frozenset[str] = frozenset()


def later(hook: str, subject: Subject) -> bool:
    """Whoever listens is asked by a command."""
    del hook, subject
    return False


def nobody() -> frozenset[str]:
    """The hooks that somebody listens to, when nobody does."""
    return NOBODY


@dataclass(slots=True)
class Context:
    """What a rebuild knows of its connection."""

    flow: Flow
    decision: Decision
    """About the connection."""
    requests: RequestPolicy
    scheme: str
    """http or https."""
    host: str | None
    """Whom the app asked for, for requests that do not say."""
    wall: Callable[[float], float]
    """The engine's clock as seconds since 1970."""
    hooks: Callable[[], frozenset[str]] = nobody
    """Asked anew for each exchange."""
    answer: Callable[[str, Subject], bool] = later
    """Has whoever listens to this hook answer at once, or says that it takes a question."""
    facts: ContextFacts | None = None
    """The same for everything that is asked about."""
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    """Of questions and of exchanges."""


class Rebuild:
    """What all kinds share.  A kind says how it begins and what it makes of bytes, ends and answers."""

    protocol = "tcp"
    """As the flow record says it when it travels in clear."""

    def __init__(self) -> None:
        self.seen_request = False
        self.failure: str | None = None
        """It cannot go on, and why."""
        self.resets = False
        """It is to end with RST, not with FIN."""
        self.finished = False
        self.deadline: float | None = None
        """When `late` is to be called."""
        self._now = 0.0
        self._congested: set[Side] = set()
        """Too much waits to be sent to these sides."""
        self.done: list[Exchange] = []
        """Exchanges finished and not taken yet."""

    def start(self, now: float) -> list[Command]:
        self._now = now
        return self._started()

    def receive(self, side: Side, data: bytes, now: float) -> list[Command]:
        self._now = now
        return self._received(side, data)

    def end(self, side: Side, now: float) -> list[Command]:
        self._now = now
        return self._side_ended(side)

    def congested(self, side: Side) -> None:
        self._congested.add(side)

    def drained(self, side: Side, now: float) -> list[Command]:
        self._now = now
        self._congested.discard(side)
        return self._went_on()

    def consulted(self, number: int, now: float) -> list[Command]:
        self._now = now
        return self._answered(number)

    def late(self, now: float) -> list[Command]:
        self._now = now
        return self._was_late()

    def cut(self, now: float, why: str) -> list[Command]:
        """The connection ends here.  Returns questions that nobody waits for."""
        self._now = now
        return self._cut_off(why)

    def take(self) -> list[Exchange]:
        """Exchanges finished since the last call."""
        if not self.done:
            return []
        done, self.done = self.done, []
        return done

    def _started(self) -> list[Command]:
        return []

    def _received(self, side: Side, data: bytes) -> list[Command]:
        raise AssertionError(f"no kind of its own for {len(data)} bytes of {side}")

    def _side_ended(self, side: Side) -> list[Command]:
        raise AssertionError(f"no kind of its own for the end of {side}")

    def _went_on(self) -> list[Command]:
        return []

    def _answered(self, number: int) -> list[Command]:
        raise AssertionError(f"nobody asked {number}")

    def _was_late(self) -> list[Command]:
        self.finished = True
        return []

    def _cut_off(self, why: str) -> list[Command]:
        raise AssertionError(f"no kind of its own for an end: {why}")


class Rebuilt:
    """A layer of `connection` for what travels in clear."""

    def __init__(self, rebuild: Rebuild) -> None:
        self.rebuild = rebuild
        self.bytes_up = 0
        self.bytes_down = 0

    @property
    def handshake_deadline(self) -> float | None:
        return self.rebuild.deadline

    @property
    def failure(self) -> str | None:
        return self.rebuild.failure

    @property
    def resets(self) -> bool:
        return self.rebuild.resets

    @property
    def finished(self) -> bool:
        return self.rebuild.finished

    @property
    def protocol(self) -> str:
        return "h2c" if self.rebuild.protocol == "h2" else self.rebuild.protocol

    def start(self, now: float) -> list[Command]:
        return self.rebuild.start(now)

    def receive(self, side: Side, data: bytes, now: float) -> list[Command]:
        if side is Side.DOWNSTREAM:
            self.bytes_up += len(data)
        else:
            self.bytes_down += len(data)
        return self.rebuild.receive(side, data, now)

    def end(self, side: Side, now: float) -> list[Command]:
        return self.rebuild.end(side, now)

    def congested(self, side: Side) -> None:
        self.rebuild.congested(side)

    def drained(self, side: Side, now: float) -> list[Command]:
        return self.rebuild.drained(side, now)

    def consulted(self, number: int, now: float) -> list[Command]:
        return self.rebuild.consulted(number, now)

    def late(self, now: float) -> list[Command]:
        return self.rebuild.late(now)

    def exchanges(self) -> list[Exchange]:
        return self.rebuild.take()

    def cut_off(self, now: float, why: str) -> list[Command]:
        """As `cut`; returns questions that nobody waits for."""
        return self.rebuild.cut(now, why)

    def cut(self, now: float, why: str) -> None:
        self.rebuild.cut(now, why)
