"""How far the kernel sees: what of a rule it can ask by itself, and where it must hand over to the proxy.

Pure.  The kernel knows full app ids, protocol, address and port; on Windows also the token.  `compile` (which makes
filters) and `outcome` (which foretells them) both ask here, so that they cannot disagree about it.

Names and globs of apps.  The kernel is told the app ids of the programs that are known to run, and which of them
match.  A program that it was not told of may match, so from the first such rule on a TCP connection of an unknown
program is handed to the proxy, which sees the path and decides the same.  For that, each later filter that lets
connections go direct must be for known programs only ("sealed").  Where that would take too many conditions, all
connections that reach the rule are handed over instead.  UDP cannot be handed over: there the rule holds for known
programs, and the next rules decide about the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from pointsman.policy.apps import AppSet, normal
from pointsman.policy.match import UNKNOWN, Connection, match_rule
from pointsman.policy.rules import Policy, Protocol, Rule
from pointsman.policy.security import is_sid, service_sid
from pointsman.policy.tables import NetworkSet

AppId = Callable[[str], bytes]
MAX_KERNEL_NETWORKS = 8192  # of one rule; more are the proxy's business
MAX_SEAL_CONDITIONS = 50_000  # app ids in all sealed filters of one layer


@dataclass(frozen=True)
class Sight:
    """Of one kernel, at one moment."""

    app_id: AppId
    running: frozenset[str] = frozenset()
    """Full paths of programs, any letter case."""
    sid_of: Callable[[str], str | None] | None = None
    """The SID of a user by name, None for nobody we know; no function at all: this kernel sees no tokens (the lab)."""

    @cached_property
    def running_plain(self) -> dict[str, str]:
        """Normal form → path."""
        return {normal(path): path for path in self.running}

    @cached_property
    def _running_by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for plain in self.running_plain:
            found.setdefault(plain.rpartition("/")[2], []).append(plain)
        return found

    def running_matches(self, app: AppSet) -> list[str]:
        """The programs that run and that a name or a glob matches, in a fixed order."""
        found = {plain for name in app.names for plain in self._running_by_name.get(name, ())}
        if app.globs:
            found.update(plain for plain in self.running_plain if app.matches_openly(plain))
        return [self.running_plain[plain] for plain in sorted(found)]

    def with_paths_of(self, policy: Policy) -> Sight:
        """What a rule names in full is known to the kernel as if it ran: names and globs are held against it too."""
        named = {normal(path): path for rule in policy.rules for path in rule.app.paths}
        unseen = [path for plain, path in named.items() if plain not in self.running_plain]
        return replace(self, running=self.running | frozenset(unseen)) if unseen else self

    def sids(self, rule: Rule) -> list[str] | None:
        """Whom a rule asks for; None if this kernel cannot ask that."""
        if self.sid_of is None:
            return None
        found = [service_sid(name) for name in rule.service]
        for name in rule.user:
            sid = name.upper() if is_sid(name) else self.sid_of(name)
            if sid is None:
                return None  # somebody may have that name later
            found.append(sid)
        return found

    def is_late(self, rule: Rule) -> bool:
        """Part of the question is beyond the kernel: it cannot say yes, only no."""
        return (
            rule.asks_what_was_said
            or bool(rule.parent)
            or (bool(rule.user or rule.service) and self.sids(rule) is None)
            or not self.sees_networks(rule)
        )

    @staticmethod
    def sees_networks(rule: Rule) -> bool:
        return len(rule.net) <= MAX_KERNEL_NETWORKS

    def match(self, rule: Rule, connection: Connection) -> bool | None:
        """What the filters of this rule make of a connection.  None: it is for the proxy to say, or for nobody."""
        if rule.app and not self._sees_app(rule, connection.app):
            return False
        is_late = self.is_late(rule)
        seen = Connection(
            connection.app, connection.protocol, connection.address, connection.port,
            users=UNKNOWN if is_late else connection.users, services=UNKNOWN if is_late else connection.services,
        )  # fmt: skip
        matched = match_rule(rule if self.sees_networks(rule) else replace(rule, net=NetworkSet()), seen)
        if not is_late or matched is False:
            return matched
        return None if connection.protocol is Protocol.TCP else False

    def _sees_app(self, rule: Rule, app: str | None) -> bool:
        if app is None:
            return False
        plain = normal(app)
        return plain in rule.app.plain or (plain in self.running_plain and rule.app.matches_openly(plain))


@dataclass(frozen=True)
class HandOver:
    """From which rule on connections of unknown programs go to the proxy."""

    place: int
    known: dict[str, str]
    """Programs that the kernel decides about all the same: normal form → path."""
    is_sweeping: bool
    """Sealing is too dear: all connections that come so far go to the proxy."""

    def knows(self, app: str | None) -> bool:
        return not self.is_sweeping and app is not None and normal(app) in self.known


def hand_over(policy: Policy, sight: Sight) -> HandOver | None:
    """None: the kernel needs to know of no program that has not been named.  `sight` is `with_paths_of` the policy."""
    tcp = [(place, rule) for place, rule in enumerate(policy.rules) if rule.protocol is not Protocol.UDP]
    place = next((place for place, rule in tcp if rule.app.is_open), None)
    if place is None:
        return None
    sealed = sum(1 for at, rule in tcp if at > place and needs_seal(rule, sight))
    sealed += policy.default.is_for_kernel
    return HandOver(place, sight.running_plain, sealed * len(sight.running_plain) > MAX_SEAL_CONDITIONS)


def needs_seal(rule: Rule, sight: Sight) -> bool:
    """Its filter would let any program go direct."""
    return not rule.app and rule.action.is_for_kernel and not sight.is_late(rule)
