"""What the driver decided, for people: its own events, turned into one record a connect().

Nothing here is inferred: a record is made only of what came out of the driver's event ring.  Two layers are classified
for one connect and each may report; `one_flow` chooses the event that says what became of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pointsman.lab.app_id import image_path
from pointsman.lab.sockaddr import Endpoint
from pointsman.wire.abi import Event, EventKind, Reason, Verdict

EPOCH_1601 = 11_644_473_600  # seconds from 1601-01-01 to 1970-01-01
TICKS = 10_000_000  # Windows' 100 ns in a second
_STRENGTH = {Verdict.PASS: 0, Verdict.REDIRECT: 1, Verdict.BLOCK: 2}


@dataclass(frozen=True, slots=True)
class KernelFlow:
    """A connection as the driver saw it, and what it decided."""

    time: float
    """Seconds since 1970."""
    pid: int
    app: str
    """A Linux path, in lower case."""
    protocol: int
    """IANA number."""
    original_destination: Endpoint
    verdict: Verdict
    reason: Reason
    rule_id: int
    registration: int


def windows_time(seconds: float) -> int:
    """Seconds since 1970 → 100 ns since 1601."""
    return int((seconds + EPOCH_1601) * TICKS)


def one_flow(events: Iterable[Event]) -> KernelFlow | None:
    """The record of one connect() from the events it caused; None if the driver reported none."""
    chosen: Event | None = None
    for event in events:
        # That a redirected connection was let through afterwards says nothing new.
        if event.kind is not EventKind.FLOW or event.reason is Reason.REDIRECT_AUTHORIZED:
            continue
        if chosen is None or _STRENGTH[event.verdict] > _STRENGTH[chosen.verdict]:
            chosen = event
    if chosen is None or chosen.remote is None:
        return None
    return KernelFlow(
        time=chosen.time / TICKS - EPOCH_1601,
        pid=chosen.pid,
        app=image_path(chosen.app_id),
        protocol=chosen.protocol,
        original_destination=chosen.remote,
        verdict=chosen.verdict,
        reason=chosen.reason,
        rule_id=chosen.rule_id,
        registration=chosen.registration,
    )
