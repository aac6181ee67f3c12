"""What was learned, or ordered for a while, on top of the rules: pass-through of an app or host, and pauses.

Pure.  An entry says why it is there and when it ends; it only ever makes us look less (decrypt → relay, handled →
direct).  It never undoes a block and never goes around an upstream proxy that a rule asks for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from pointsman.policy.apps import normal
from pointsman.policy.decision import Action, Decision
from pointsman.policy.match import Connection
from pointsman.policy.rules import Policy, Rule

MAX_ENTRIES = 1000
MAX_REASON = 200  # characters


class Kind(Enum):
    PASS_THROUGH = "pass-through"  # noqa: S105 (no password)
    """Relay what would be decrypted: the app did not accept our leaf."""
    PAUSE = "pause"
    """Do not handle it at all, until it is resumed or the time is over."""


@dataclass(frozen=True, slots=True)
class Entry:
    kind: Kind
    reason: str
    made: float
    """Seconds since 1970."""
    expires: float | None
    """Seconds since 1970; None: when somebody removes it."""
    app: str | None = None
    """Full path; None: every app."""
    host: str | None = None
    """None: every host, also none at all.  A pause has no host: the kernel sees none."""

    def __post_init__(self) -> None:
        if self.kind is Kind.PAUSE and self.host is not None:
            raise ValueError("a pause is for an app or for all, not for a host")
        if self.kind is Kind.PASS_THROUGH and self.app is None and self.host is None:
            raise ValueError("a pass-through is for an app, a host or both; for all there is pause")
        if not self.reason or len(self.reason) > MAX_REASON:
            raise ValueError(f"a reason has 1 to {MAX_REASON} characters")

    @property
    def subject(self) -> tuple[Kind, str | None, str | None]:
        """What it is about: there is one entry for each."""
        return (self.kind, None if self.app is None else normal(self.app), self.host)

    def is_live(self, now: float) -> bool:
        return self.expires is None or now < self.expires

    def holds(self, connection: Connection) -> bool:
        if self.app is not None and (connection.app is None or normal(self.app) != normal(connection.app)):
            return False
        if self.host is None:
            return True
        return isinstance(connection.host, str) and connection.host.lower().removesuffix(".") == self.host


@dataclass(frozen=True, slots=True)
class Learned:
    """All entries, oldest first; a value: each change gives a new one."""

    entries: tuple[Entry, ...] = ()

    def with_entry(self, entry: Entry, now: float) -> Learned:
        """An older entry about the same, those that are over, and the oldest beyond the limit make room."""
        kept = [one for one in self.entries if one.subject != entry.subject and one.is_live(now)]
        return Learned((*kept, entry)[-MAX_ENTRIES:])

    def without(self, subject: tuple[Kind, str | None, str | None]) -> Learned:
        """Resume, or forget.  What is not there needs no removing."""
        return Learned(tuple(one for one in self.entries if one.subject != subject))

    def live(self, now: float) -> tuple[Entry, ...]:
        return tuple(one for one in self.entries if one.is_live(now))


def overlay(
    decision: Decision, connection: Connection, learned: Iterable[Entry], now: float
) -> tuple[Decision, Entry | None]:
    """The proxy's decision with what was learned, and the entry that changed it."""
    if not decision.action.decrypts:
        return decision, None
    for entry in learned:
        if entry.is_live(now) and entry.holds(connection):
            return Decision(Action.RELAY, decision.rule), entry
    return decision, None


def paused(policy: Policy, learned: Iterable[Entry], now: float) -> Policy:
    """The policy while everything is paused: blocks and upstreams as before, all else direct."""
    if not any(one.kind is Kind.PAUSE and one.app is None and one.is_live(now) for one in learned):
        return policy
    rules = tuple(map(_let_go, policy.rules))
    default = policy.default if policy.default is Action.BLOCK else Action.DIRECT
    return replace(policy, rules=rules, default=default)


def _let_go(rule: Rule) -> Rule:
    if rule.action in (Action.BLOCK, Action.UPSTREAM):
        return rule
    return replace(rule, action=Action.DIRECT)
