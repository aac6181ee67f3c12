"""One hook of one addon: whether it may run on the event loop, and what has gone wrong with it so far.

A hook starts in a thread.  After a few calls that were all fast it runs on the loop, which costs a fraction.  If it is
slow there, it goes back to its thread and has to prove itself over many more calls: a machine that is busy makes any
hook look slow now and then, but not each time.  One that had to be ended stays there for good.  Hooks that are
coroutines run on the loop as tasks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CONCURRENT = "_pointsman_concurrent"
BUDGET = "_pointsman_budget"
_LOOP_NAMES = {"create_task", "ensure_future", "get_running_loop", "get_event_loop"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Of what a hook may take; seconds and counts."""

    budget: float = 5.0
    """From the moment a flow waits for a hook; then it goes on as it was before that hook."""
    concurrent_budget: float = 60.0
    """The same for hooks that are marked `@concurrent`, and for coroutines: nothing else waits for those."""
    load: float = 10.0
    """For the file itself, and for `load` and `configure`."""
    stall: float = 0.5
    """On the event loop; then it is ended."""
    fast: float = 0.002
    """What a call may take to count as fast."""
    proving_calls: int = 8
    """Fast calls in a row, in a thread, before a hook runs on the loop."""
    slow: float = 0.02
    """On the loop; that is a strike."""
    strikes: int = 3
    """Within `forgive`; then back to the thread, and to prove itself over `harder` times as many calls."""
    forgive: float = 60.0
    harder: int = 8
    chances: int = 4
    """After so many times it stays in the thread for good."""
    stuck: int = 3
    """Threads lost to one addon; then it is switched off until its file changes."""
    pending: int = 1000
    """Flows that wait for one addon; further ones go on at once."""
    concurrent: int = 16
    """Threads for hooks that are marked `@concurrent`, for each addon file."""


class Listener:
    __slots__ = (
        "bar", "budget", "calls_failed", "chances", "fast_calls", "function", "hook", "inline", "is_async",
        "is_concurrent", "last_strike", "name", "off", "proved", "strikes",
    )  # fmt: skip

    def __init__(self, name: str, hook: str, function: Callable[..., Any], limits: Limits) -> None:
        self.name = name
        """Of the addon, for people."""
        self.hook = hook
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.is_concurrent = bool(getattr(function, CONCURRENT, False))
        given = limits.concurrent_budget if self.is_concurrent or self.is_async else limits.budget
        self.budget = float(getattr(function, BUDGET, given))
        self.inline = _names_the_loop(function)
        """Called on the loop."""
        self.proved = self.inline
        """What `inline` is about is settled: it has been slow, or it may be inline."""
        self.fast_calls = 0
        self.bar = limits.proving_calls
        self.chances = limits.chances
        self.strikes = 0
        self.last_strike = float("-inf")
        self.calls_failed = 0
        self.off = False

    def took(self, seconds: float, limits: Limits) -> bool:
        """A call in a thread went well.  Whether it runs on the loop from now on."""
        if self.proved or self.is_concurrent:
            return False
        self.fast_calls = self.fast_calls + 1 if seconds <= limits.fast else 0
        if self.fast_calls >= self.bar:
            self.inline = self.proved = True
        return self.inline

    def was_slow(self, now: float, limits: Limits) -> bool:
        """On the loop.  Whether it goes back to a thread."""
        self.strikes = self.strikes + 1 if now - self.last_strike <= limits.forgive else 1
        self.last_strike = now
        if self.strikes >= limits.strikes:
            self.demote()
            self.strikes, self.fast_calls = 0, 0
            self.bar *= limits.harder
            self.chances -= 1
            self.proved = self.chances <= 0
        return not self.inline

    def demote(self) -> None:
        """For good."""
        self.inline, self.proved = False, True


def _names_the_loop(function: Callable[..., Any]) -> bool:
    """It starts tasks itself, which nobody can from another thread."""
    code = getattr(function, "__code__", None)
    return code is not None and not _LOOP_NAMES.isdisjoint(code.co_names)


def concurrent(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a hook that may run for several flows at once: it always runs in a thread of its own."""
    setattr(function, CONCURRENT, True)
    return function


def budget(seconds: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a hook that may take longer, or less long, than others."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, BUDGET, float(seconds))
        return function

    return mark
