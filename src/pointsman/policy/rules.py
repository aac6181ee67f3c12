"""A policy as values: ordered rules, the first match wins, and a default.

Pure and already checked: whoever holds a `Policy` need not ask whether it makes sense.  `load` makes one from text,
`match` says what it means, `compile` says it to the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from pointsman.policy.decision import Action

Network = IPv4Network | IPv6Network


class Protocol(Enum):
    """The value is IANA's number."""

    TCP = 6
    UDP = 17


@dataclass(frozen=True, slots=True)
class Rule:
    """An empty tuple, and no protocol, match everything; within a tuple any one is enough."""

    id: int
    """Its place in the list from 0: what the kernel's filters and counters carry."""
    name: str | None
    action: Action
    app: tuple[str, ...] = ()
    """Full paths, compared without regard to letter case."""
    net: tuple[Network, ...] = ()
    """IPv4-mapped IPv6 networks have become IPv4 networks."""
    ports: tuple[tuple[int, int], ...] = ()
    """Inclusive ranges."""
    host: tuple[str, ...] = ()
    """A-labels in lower case; `*.example.com` is any name below example.com, but not that name."""
    protocol: Protocol | None = None
    line: int = 0
    """Where it starts in the source, from 1."""

    @property
    def label(self) -> str:
        return self.name or f"rule {self.id + 1}"


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...]
    default: Action
    source: str
    """The file it came from, for people."""
