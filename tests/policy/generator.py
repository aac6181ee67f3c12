"""Random policies and connections that meet each other often: few apps, networks, ports and names.

One source of randomness for both: `random.Random` for the fast loop, a drawn seed for hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from random import Random
from typing import TypeVar

from pointsman.policy.apps import AppSet
from pointsman.policy.decision import Action
from pointsman.policy.match import Connection
from pointsman.policy.rules import Detected, Policy, Protocol, Rule
from pointsman.policy.situation import Situation, Whose
from pointsman.policy.tables import HostSet, NetworkSet

T = TypeVar("T")
LONG = "/opt/" + "d" * 250 + "/a"
"""Longer than what the driver keeps of a path."""
APPS = ("/usr/bin/a", "/usr/bin/b", "/opt/v1/a", "/opt/v2/c", "/usr/lib/d", LONG)
APP_PATTERNS = ("/usr/bin/a", "/usr/bin/b", "/USR/bin/B", "a", "c", "/opt/*/a", "/usr/**", "?", LONG)
NETWORKS = (
    *("0.0.0.0/0", "203.0.113.0/24", "203.0.113.7/32", "198.51.100.0/25", "10.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4"),
    *("::/0", "2001:db8::/32", "2001:db8::1/128", "fe80::/10", "::ffff:203.0.113.0/120", "2000::/3"),
)
ADDRESSES = tuple(
    map(
        ip_address,
        [
            *("203.0.113.7", "203.0.113.7", "203.0.113.8", "198.51.100.1", "198.51.100.200", "93.184.216.34"),
            *("10.1.2.3", "127.0.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "224.0.0.251", "255.255.255.255"),
            *("::ffff:203.0.113.7", "::ffff:198.51.100.1", "::ffff:10.1.2.3", "::ffff:127.0.0.1"),
            *("2001:db8::1", "2001:db8::2", "2606:4700::1", "fe80::1", "fd00::1", "::1", "ff02::fb"),
            *("64:ff9b::10.0.0.1", "64:ff9b::203.0.113.7"),
        ],
    )
)
PORTS = ((80, 80), (443, 443), (79, 90), (8000, 8099))
HOSTS = ("a.example", "*.example", "b.example", "*.a.example")
NAMES = (None, "a.example", "b.example", "x.a.example", "other.test")
PATHS = ("/a", "/a/*", "/**")
USERS = ("alice", "bob")


@dataclass(frozen=True, slots=True)
class Case:
    connection: Connection
    situation: Situation


def policy(random: Random) -> Policy:
    rules = tuple(_rule(random, place) for place in range(random.randint(0, 7)))
    return Policy(rules, random.choice(tuple(Action)[:4]), "random")


def running(random: Random) -> frozenset[str]:
    """Which programs the kernel was told of."""
    return frozenset(random.sample(APPS, random.randint(0, len(APPS))))


def case(random: Random) -> Case:
    protocol = random.choice((Protocol.TCP, Protocol.TCP, Protocol.UDP))
    detected = random.choice((None, *Detected))
    is_http = detected is Detected.HTTP
    connection = Connection(
        app=random.choice((*APPS, None)),
        protocol=protocol,
        address=random.choice(ADDRESSES),
        port=random.choice((80, 85, 443, 8000, 1)),
        host=random.choice(NAMES) if detected else None,
        detected=detected,
        method=random.choice(("GET", "POST")) if is_http else None,
        path=random.choice(("/", "/a", "/a/b")) if is_http else None,
        ancestors=tuple(random.sample(APPS, random.randint(0, 2))),
        users=frozenset(random.sample(USERS, random.randint(0, 1))),
        services=frozenset(),
    )
    return Case(connection, _situation(random))


def describe(policy: Policy, case: Case) -> str:
    return "\n".join([*map(str, policy.rules), f"default {policy.default}", str(case.connection), str(case.situation)])


def _situation(random: Random) -> Situation:
    if random.random() < 0.8:
        return Situation()
    return Situation(
        whose=random.choice(tuple(Whose)),
        bound_locally=random.random() < 0.3,
        raw_endpoint=random.random() < 0.2,
        other_compartment=random.random() < 0.2,
    )


def _rule(random: Random, place: int) -> Rule:
    protocol = random.choice((None, None, Protocol.TCP, Protocol.UDP))
    said = protocol is not Protocol.UDP and random.random() < 0.35
    detected = random.choice((None, *Detected)) if said else None
    return Rule(
        id=place,
        name=None,
        action=random.choice(tuple(Action)[:4]),
        app=AppSet.of(_some(random, APP_PATTERNS, 0.4)),
        net=NetworkSet.of(map(ip_network, _some(random, NETWORKS, 0.4))),
        ports=tuple(_some(random, PORTS, 0.3)),
        host=HostSet.of(_some(random, HOSTS, 0.7)) if said else HostSet(),
        protocol=Protocol.TCP if detected else protocol,
        detected=detected,
        parent=AppSet.of(_some(random, APP_PATTERNS, 0.1)),
        user=tuple(_some(random, USERS, 0.1)),
        method=tuple(_some(random, ("GET",), 0.2)) if said else (),
        path=tuple(_some(random, PATHS, 0.2)) if said else (),
    )


def _some(random: Random, values: tuple[T, ...], probability: float) -> list[T]:
    return (
        random.sample(values, random.randint(1, 2) if len(values) > 1 else 1) if random.random() < probability else []
    )
