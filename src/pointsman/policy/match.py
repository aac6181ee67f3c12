"""The reference evaluator: what a policy says about one connection.

Pure.  This is the meaning; the compiled filters and the proxy must agree with it (tests/policy/test_law.py).  Some
facts become known only when the app has spoken, or when the system was asked about the process, so a match has three
values: yes, no, and "it depends".  A connection to an IPv4-mapped IPv6 address *is* an IPv4 connection.

UDP never reaches the proxy, so nobody learns what is said on it: a rule that asks for that does not match UDP.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from enum import Enum
from typing import Final

from msgspec import Struct

from pointsman.policy.apps import glob_pattern
from pointsman.policy.decision import Decision
from pointsman.policy.index import Index, index_of
from pointsman.policy.rules import Detected, Policy, Protocol, Rule
from pointsman.policy.tables import Address

__all__ = ["UNKNOWN", "Address", "Connection", "Unknown", "evaluate", "match_rule", "possible"]


class Unknown(Enum):
    UNKNOWN = "unknown"
    """Nobody has looked yet.  None, in contrast, says that there is nothing to see."""


UNKNOWN: Final = Unknown.UNKNOWN


class Connection(Struct, frozen=True, gc=False):
    app: str | None
    """Full path; None if the system could not tell, and then no rule with an app matches."""
    protocol: Protocol
    address: Address
    port: int
    host: str | Unknown | None = UNKNOWN
    detected: Detected | Unknown | None = UNKNOWN
    method: str | Unknown | None = UNKNOWN
    path: str | Unknown | None = UNKNOWN
    """Of the HTTP request, without query."""
    ancestors: tuple[str, ...] | Unknown = UNKNOWN
    users: frozenset[str] | Unknown = UNKNOWN
    services: frozenset[str] | Unknown = UNKNOWN


def evaluate(policy: Policy, connection: Connection) -> Decision:
    """The decision, with what is unknown taken as "no"."""
    index = index_of(policy)
    for place in _candidates(index, connection, wants_possible=False):
        if match_rule(index.rules[place], connection) is True:
            return index.decisions[place]
    return Decision(policy.default, None)


def possible(policy: Policy, connection: Connection) -> tuple[Decision, ...]:
    """Every decision that may still fall, in order; exactly one if what is known settles it."""
    index = index_of(policy)
    places: list[int] = []
    last = Decision(policy.default, None)
    end = len(index.rules)
    for place in _candidates(index, connection, wants_possible=True):
        matched = match_rule(index.rules[place], connection)
        if matched is None:
            places.append(place)
        elif matched:
            last, end = index.decisions[place], place
            break
    if isinstance(connection.host, Unknown) and connection.protocol is Protocol.TCP:
        waiting = index.by_host_alone
        places = sorted((*places, *waiting[: bisect_left(waiting, end)]))
    return (*(index.decisions[place] for place in places), last)


def _candidates(index: Index, connection: Connection, *, wants_possible: bool) -> Iterable[int]:
    """Places of the rules to be asked.  UDP has no host."""
    host = connection.host if connection.protocol is Protocol.TCP else None
    is_unknown = isinstance(host, Unknown)
    return index.candidates(
        connection.app, connection.address, connection.port, None if isinstance(host, Unknown) else host,
        is_host_unknown=wants_possible and is_unknown,
    )  # fmt: skip


def match_rule(rule: Rule, connection: Connection) -> bool | None:
    """None: it depends on what nobody knows yet.  (The time of day is no question here, see `rules.active_at`.)"""
    if rule.protocol is not None and rule.protocol is not connection.protocol:
        return False
    if rule.ports and not any(first <= connection.port <= last for first, last in rule.ports):
        return False
    if rule.net.prefixes and not rule.net.matches(connection.address):
        return False
    if rule.asks_app and (connection.app is None or not rule.app.matches(connection.app)):
        return False
    of_process = _matches_process(rule, connection) if rule.asks_process else True
    if of_process is False or not rule.asks_what_was_said:
        return of_process
    said = _matches_what_was_said(rule, connection)
    return None if said and of_process is None else said


def _matches_process(rule: Rule, connection: Connection) -> bool | None:
    answers: list[bool | None] = []
    if rule.parent:
        if connection.protocol is Protocol.UDP:
            return False  # only the proxy sees ancestors
        ancestors = connection.ancestors
        answers.append(None if isinstance(ancestors, Unknown) else any(map(rule.parent.matches, ancestors)))
    for wanted, seen in ((rule.user, connection.users), (rule.service, connection.services)):
        if wanted:
            answers.append(None if isinstance(seen, Unknown) else not seen.isdisjoint(wanted))
    return _all(answers)


def _matches_what_was_said(rule: Rule, connection: Connection) -> bool | None:
    if connection.protocol is Protocol.UDP:
        return False
    answers: list[bool | None] = []
    if rule.detected is not None:
        seen = connection.detected
        answers.append(None if isinstance(seen, Unknown) else seen is rule.detected)
    if rule.host:
        host = connection.host
        answers.append(None if isinstance(host, Unknown) else host is not None and rule.host.matches(host))
    if rule.method:
        method = connection.method
        answers.append(None if isinstance(method, Unknown) else method in rule.method)
    if rule.path:
        path = connection.path
        if isinstance(path, Unknown):
            answers.append(None)
        else:
            answers.append(path is not None and any(glob_pattern(glob).fullmatch(path) for glob in rule.path))
    return _all(answers)


def _all(answers: list[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers else True
