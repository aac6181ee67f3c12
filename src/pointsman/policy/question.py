"""A connection as a person describes it, for `why` and for the cases of `policy test`.

Pure.  Raises ValueError with what is allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from pointsman.policy import load_values
from pointsman.policy.decision import Action
from pointsman.policy.match import Connection
from pointsman.policy.outcome import Outcome, outcome
from pointsman.policy.rules import DAY, Detected, Policy, Protocol, active_at
from pointsman.policy.sight import AppId, Sight
from pointsman.policy.tables import Address

PROTOCOLS = ("tcp", "tls", "http", "udp", "quic")
_DESTINATION = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<plain>[^\[\]]+?))(?::(?P<port>\d{1,5}))?")
_NAMED = re.compile(r"(?P<name>[^:\[\]/%]+?)(?::(?P<port>\d{1,5}))?")
DEFAULT_PORT = 443
UNRESOLVED = ip_address("192.0.2.1")
"""Stands for an address of the public Internet that nobody knows (TEST-NET-1, RFC 5737)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    app: str
    """A path or a name."""
    address: Address
    port: int = DEFAULT_PORT
    protocol: str = ""
    """One of PROTOCOLS; empty: tls, or http if method, path or port 80 say so."""
    host: str | None = None
    method: str | None = None
    path: str | None = None
    parents: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    is_new: bool = False
    """The program has started just now, and the kernel has not been told of it."""

    def connection(self) -> Connection:
        detected = self._detected()
        is_http = detected is Detected.HTTP
        return Connection(
            app=self.app,
            protocol=Protocol.UDP if self.protocol in ("udp", "quic") else Protocol.TCP,
            address=self.address,
            port=self.port,
            host=self.host if detected else None,
            detected=detected,
            method=(self.method or "GET") if is_http else None,
            path=(self.path or "/") if is_http else None,
            ancestors=self.parents,
            users=frozenset(user.lower() for user in self.users),
            services=frozenset(service.lower() for service in self.services),
        )

    def _detected(self) -> Detected | None:
        if self.protocol in ("tcp", "udp", "quic"):
            return None
        if self.protocol:
            return Detected(self.protocol)
        return Detected.HTTP if self.method or self.path or self.port == 80 else Detected.TLS


@dataclass(frozen=True, slots=True)
class Asked:
    """A question put to a policy."""

    connection: Connection
    policy: Policy
    """With the rules of that moment."""
    outcome: Outcome


def ask(policy: Policy, question: Question, *, minute: int, app_id: AppId, sees_tokens: bool) -> Asked:
    """`minute`: of the week.  `sees_tokens`: the kernel is that of Windows, not of the lab."""
    connection = question.connection()
    now = active_at(policy, minute)
    running = frozenset() if question.is_new else frozenset({question.app})
    # Any SID will do: what matters is that the kernel can ask.
    sight = Sight(app_id, running, (lambda _: "S-1-1-0") if sees_tokens else None)
    return Asked(connection, now, outcome(now, connection, sight))


def destination(text: str) -> tuple[Address, int]:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    allowed = 'an address, perhaps with a port: "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:80"; a name goes into host'
    try:
        return ip_address(text), DEFAULT_PORT
    except ValueError:
        found = _DESTINATION.fullmatch(text)
    if found is None:
        raise ValueError(allowed)
    port = int(found["port"]) if found["port"] else DEFAULT_PORT
    try:
        address = ip_address(found["v6"] or found["plain"])
    except ValueError:
        raise ValueError(allowed) from None
    if not 1 <= port <= 65535:
        raise ValueError("a port from 1 to 65535")
    return address, port


def named_destination(text: str) -> tuple[str, int]:
    """`example.com`, `example.com:8443`, `bücher.example`: the name as rules compare it, and the port."""
    allowed = 'an address or a host name, perhaps with a port: "192.0.2.1:80", "[2001:db8::1]:80", "example.com:8443"'
    found = _NAMED.fullmatch(text)
    # A word of digits and dots is an address that is none.
    if found is None or not re.search(r"[^\d.]", found["name"]):
        raise ValueError(allowed)
    port = int(found["port"]) if found["port"] else DEFAULT_PORT
    if not 1 <= port <= 65535:
        raise ValueError("a port from 1 to 65535")
    return named(found["name"]), port


def named(text: str) -> str:
    """A host name as rules compare it: lower case, A-labels, without a dot at its end."""
    if text.startswith("*"):
        raise ValueError('one name, without "*"')
    return load_values.host(text)


def moment(text: str) -> int:
    """`mon 09:00` as a minute of the week."""
    found = re.fullmatch(r"([a-z]{3})\s+(\d\d):(\d\d)", text.strip().lower())
    if found is None or found[1] not in load_values.DAYS or int(found[2]) > 23 or int(found[3]) > 59:
        raise ValueError('a day and a time: "mon 09:00"')
    return load_values.DAYS.index(found[1]) * DAY + int(found[2]) * 60 + int(found[3])


def action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise ValueError(load_values.listed(one.value for one in Action)) from None
