"""What people are told of addons that do wrong: which one, at which hook, for which flow, and what it means.

Never for each flow alone: an addon that fails for all of them must not fill a disk.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pointsman.addons.listener import Limits, Listener
from pointsman.engine.messages import HttpFlow, Subject

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counters:
    calls_failed: int = 0
    """Exceptions."""
    calls_timed_out: int = 0
    stalls: int = 0
    """Hooks that were ended because they held the event loop."""
    refused: int = 0
    """Flows that went on at once, since too many waited."""

    def summary(self) -> str:
        """Empty if nothing went wrong."""
        named = (
            (self.calls_failed, "calls failed"),
            (self.calls_timed_out, "calls gave no answer in time"),
            (self.stalls, "calls held the event loop and were ended"),
            (self.refused, "calls were left out, since too many waited"),
        )
        return ", ".join(f"{count} {what}" for count, what in named if count)


def is_worth_saying(count: int) -> bool:
    """The first few, then ever rarer."""
    return count <= 3 or (count % 10 == 0 and str(count).strip("0") == "1")


def failed(listener: Listener, subject: Subject, error: BaseException) -> None:
    if is_worth_saying(listener.calls_failed):
        _say(listener, subject, f"{type(error).__name__}: {error}", error)


def stalled(listener: Listener, subject: Subject, limits: Limits) -> None:
    _say(listener, subject, f"held the event loop for {limits.stall} s and was ended; from now on it runs in a thread")


def timed_out(listener: Listener, subject: Subject) -> None:
    if is_worth_saying(listener.calls_failed):
        _say(listener, subject, f"gave no answer within {listener.budget} s")


def switched_off(source: str, stuck: int) -> None:
    _log.error(
        "addon %s: switched off after %d calls that never ended; it is loaded anew when its file changes", source, stuck
    )


def full(listener: Listener, pending: int) -> None:
    _log.error("addon %s: %d flows wait for it; further ones go on unchanged", listener.name, pending)


def demoted(listener: Listener, seconds: float, limits: Limits) -> None:
    back = "for good" if listener.proved else f"until {listener.bar} calls in a row were fast"
    _log.warning(
        "addon %s: %s was slow on the event loop, %d times within %.0f s (%.0f ms now); it runs in a thread %s",
        listener.name, listener.hook, limits.strikes, limits.forgive, seconds * 1000, back,
    )  # fmt: skip


def transform_failed(hook: str, flow: HttpFlow, what: str) -> None:
    _log.error("the `stream` that an addon set in %s, flow %s: %s; the body goes on unchanged", hook, flow.id, what)


def _say(listener: Listener, subject: Subject, what: str, error: BaseException | None = None) -> None:
    count = f" (failure {listener.calls_failed} of this hook)" if listener.calls_failed > 1 else ""
    _log.error(
        "addon %s: %s, flow %s: %s; the flow goes on unchanged%s", listener.name, listener.hook, subject.id, what,
        count, exc_info=error,
    )  # fmt: skip
