"""The reference evaluator: what a policy says about one connection.

Pure.  This is the meaning; the compiled filters and the proxy must agree with it (tests/policy/test_compile.py).  A
host name becomes known only when the app has spoken, so a match has three values: yes, no, and "depends on the host".
A connection to an IPv4-mapped IPv6 address *is* an IPv4 connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from pointsman.policy.decision import Decision
from pointsman.policy.rules import Policy, Protocol, Rule

Address = IPv4Address | IPv6Address


class Host(Enum):
    UNKNOWN = "unknown"
    """Nobody has looked yet.  None, in contrast, says that there is no name."""


UNKNOWN: Final = Host.UNKNOWN


@dataclass(frozen=True, slots=True)
class Connection:
    app: str | None
    """Full path; None if the system could not tell, and then no rule with an app matches."""
    protocol: Protocol
    address: Address
    port: int
    host: str | Host | None = UNKNOWN


def evaluate(policy: Policy, connection: Connection) -> Decision:
    """The decision, with an unknown host taken as none."""
    for rule in policy.rules:
        if _matches_apart_from_host(rule, connection) and _matches_host(rule, connection) is True:
            return Decision(rule.action, rule)
    return Decision(policy.default, None)


def possible(policy: Policy, connection: Connection) -> tuple[Decision, ...]:
    """Every decision that may still fall, in order; exactly one if what is known settles it."""
    found: list[Decision] = []
    for rule in policy.rules:
        if not _matches_apart_from_host(rule, connection):
            continue
        match _matches_host(rule, connection):
            case True:
                return (*found, Decision(rule.action, rule))
            case None:
                found.append(Decision(rule.action, rule))
    return (*found, Decision(policy.default, None))


def _matches_apart_from_host(rule: Rule, connection: Connection) -> bool:
    if rule.protocol not in (None, connection.protocol):
        return False
    if rule.ports and not any(first <= connection.port <= last for first, last in rule.ports):
        return False
    if rule.app and (connection.app is None or connection.app.lower() not in {app.lower() for app in rule.app}):
        return False
    if not rule.net:
        return True
    address = _unmapped(connection.address)
    return any(address in network for network in rule.net)


def _matches_host(rule: Rule, connection: Connection) -> bool | None:
    """None: it depends on a host that nobody knows yet.  Nobody reads a name out of UDP, so there it has none."""
    if not rule.host:
        return True
    if connection.host is None or connection.protocol is Protocol.UDP:
        return False
    if isinstance(connection.host, Host):
        return None
    return any(host_matches(pattern, connection.host) for pattern in rule.host)


def host_matches(pattern: str, host: str) -> bool:
    name = host.lower().removesuffix(".")
    if pattern.startswith("*."):
        return name.endswith(pattern[1:]) and len(name) >= len(pattern)
    return name == pattern


def _unmapped(address: Address) -> Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
