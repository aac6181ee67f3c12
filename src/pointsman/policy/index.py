"""Which rules of a policy may match a connection, without asking all of them.

Pure.  It decides nothing: each rule is filed under one thing that it asks for, and what is found is a superset, in
order, which `match` then asks one by one (tests/policy/test_index.py holds it against asking all).  A rule that asks
for nothing that can be looked up, or for too many things, is asked always; so is one with a name that nobody knows
yet, where the caller wants to hear of what is possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import TypeVar

from pointsman.policy.apps import is_glob, normal
from pointsman.policy.decision import Decision
from pointsman.policy.rules import Policy, Protocol, Rule
from pointsman.policy.tables import Address, unmapped

MAX_KEYS = 64  # entries of one rule that are filed one by one; a long list answers by itself in microseconds
_BITS = {4: 32, 6: 128}
K = TypeVar("K")
Places = dict[K, list[int]]


@dataclass(slots=True)
class Index:
    """Places of rules, in ascending order in each list."""

    rules: Sequence[Rule]
    always: list[int] = field(default_factory=list)
    paths: Places[str] = field(default_factory=dict)
    """By a program's path, in normal form."""
    names: Places[str] = field(default_factory=dict)
    """By the last part of a program's path."""
    exact: Places[str] = field(default_factory=dict)
    below: Places[str] = field(default_factory=dict)
    """By the name that a host is below."""
    hosts: list[int] = field(default_factory=list)
    """Of those that `exact` and `below` hold: the ones that ask for more than a host."""
    by_host_alone: list[int] = field(default_factory=list)
    """The others: while the host of a TCP connection is unknown, each of them may match."""
    decisions: list[Decision] = field(default_factory=list)
    """By place."""
    prefixes: dict[tuple[int, int], Places[int]] = field(default_factory=dict)
    """(version, length) to prefix, as in `tables.NetworkSet`."""
    ports: Places[int] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> Index:
        index = cls(rules, decisions=[Decision(rule.action, rule) for rule in rules])
        for place, rule in enumerate(rules):
            if not (index._file_app(rule, place) or index._file_host(rule, place) or index._file_net(rule, place)):
                index._file_ports(rule, place)
        return index

    def candidates(
        self, app: str | None, address: Address, port: int, host: str | None, *, is_host_unknown: bool
    ) -> Iterable[int]:
        """Places, in order.  `host`: None for none, and for one that is unknown.

        If that is said, rules with a host are there too, but for those `by_host_alone`: nothing is to be asked of them.
        """
        found: list[list[int]] = []
        if app is not None and (self.paths or self.names):
            plain = normal(app)
            found += filter(None, (self.paths.get(plain), self.names.get(plain.rpartition("/")[2])))
        if is_host_unknown:
            found += filter(None, (self.hosts,))
        elif host is not None and (self.exact or self.below):
            found += self._by_host(host)
        if self.prefixes:
            found += self._by_address(address)
        by_port = self.ports.get(port)
        if by_port:
            found.append(by_port)
        if not found:
            return self.always
        if len(found) == 1:
            return merge(self.always, found[0]) if self.always else found[0]
        return merge(self.always, sorted({place for some in found for place in some}))

    def _by_host(self, host: str) -> Iterator[list[int]]:
        name = host.lower().removesuffix(".")
        if name in self.exact:
            yield self.exact[name]
        dot = name.find(".") if self.below else -1
        while dot > 0:
            places = self.below.get(name[dot + 1 :])
            if places:
                yield places
            dot = name.find(".", dot + 1)

    def _by_address(self, address: Address) -> Iterator[list[int]]:
        plain = unmapped(address)
        version, number = plain.version, int(plain)
        bits = _BITS[version]
        for (of, length), places in self.prefixes.items():
            if of == version:
                here = places.get(number >> bits - length)
                if here:
                    yield here

    def _file_app(self, rule: Rule, place: int) -> bool:
        """A glob is filed under the name that every path ends with which it matches."""
        names = [*rule.app.names, *(glob.rpartition("/")[2] for glob in rule.app.globs)]
        if not rule.app or any(map(is_glob, names)):
            return False
        for path in rule.app.plain:
            _put(self.paths, path, place)
        for name in names:
            _put(self.names, name, place)
        return True

    def _file_host(self, rule: Rule, place: int) -> bool:
        if not 0 < len(rule.host) <= MAX_KEYS:
            return False
        for name in rule.host.exact:
            _put(self.exact, name, place)
        for name in rule.host.below:
            _put(self.below, name, place)
        (self.by_host_alone if _asks_host_alone(rule) else self.hosts).append(place)
        return True

    def _file_net(self, rule: Rule, place: int) -> bool:
        if not 0 < len(rule.net) <= MAX_KEYS:
            return False
        for key, prefixes in rule.net.prefixes.items():
            for prefix in prefixes:
                _put(self.prefixes.setdefault(key, {}), prefix, place)
        return True

    def _file_ports(self, rule: Rule, place: int) -> None:
        if rule.ports and sum(last - first + 1 for first, last in rule.ports) <= MAX_KEYS:
            for first, last in rule.ports:
                for port in range(first, last + 1):
                    _put(self.ports, port, place)
        else:
            self.always.append(place)


def _asks_host_alone(rule: Rule) -> bool:
    asks = rule.asks_app or rule.asks_process or rule.net or rule.ports or rule.detected or rule.method or rule.path
    return not asks and rule.protocol is not Protocol.UDP


def index_of(policy: Policy) -> Index:
    """Made once for each policy.  Two threads may both make it: they are alike."""
    kept = policy.index
    if not kept:
        kept.append(Index.of(policy.rules))
    index = kept[0]
    assert isinstance(index, Index), "nobody else keeps anything there"
    return index


def _put(places: Places[K], key: K, place: int) -> None:
    some = places.setdefault(key, [])
    if not some or some[-1] != place:
        some.append(place)
