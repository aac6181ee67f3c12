"""What a check has found: asked, seen, what it means for traffic, and one thing to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    outcome: Outcome
    seen: str
    effect: str = ""
    """On traffic, now."""
    do: str = ""


def ok(seen: str) -> Finding:
    return Finding(Outcome.OK, seen)


def warn(seen: str, effect: str, do: str) -> Finding:
    return Finding(Outcome.WARN, seen, effect, do)


def fail(seen: str, effect: str, do: str) -> Finding:
    return Finding(Outcome.FAIL, seen, effect, do)


def skipped(why: str) -> Finding:
    return Finding(Outcome.SKIPPED, why)


DIRECT = "nothing is intercepted; connections go direct (fail open)"
"""The effect of most faults: that is what failing open means."""
NONE = "none by itself"
