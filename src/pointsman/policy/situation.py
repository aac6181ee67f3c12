"""What the driver asks before, and besides, any rule: its reasons to let a connection go direct.

Pure.  The same questions in the same order as `driver/decide/decide.c` and the same address classes as
`driver/decide/address.c` (RFC 6890 and its updates); tests/policy/test_law.py holds the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from pointsman.policy.match import Connection
from pointsman.policy.rules import Protocol
from pointsman.policy.tables import Address, unmapped
from pointsman.wire.abi import Reason


class Whose(Enum):
    """Whose connection it is."""

    APP = "app"
    PROXY = "proxy"
    """A proxy that is registered with the driver."""
    SYSTEM = "system"
    """PID 0 or 4."""
    NOBODY = "nobody"
    """WFP named no process."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that matters to the driver and that no rule asks for."""

    whose: Whose = Whose.APP
    proxy_is_registered: bool = True
    lease_is_over: bool = False
    has_v4: bool = True
    """The proxy listens on 127.0.0.1."""
    has_v6: bool = True
    """The proxy listens on ::1."""
    bound_locally: bool = False
    """The socket is bound to an address that cannot reach loopback."""
    raw_endpoint: bool = False
    other_compartment: bool = False


NORMAL = Situation()
_PRIVATE, _LOOPBACK, _NOT_UNICAST = (
    Reason.PRIVATE_DESTINATION,
    Reason.LOOPBACK_DESTINATION,
    Reason.NOT_UNICAST,
)
_CLASSES: tuple[tuple[str, Reason], ...] = (
    ("0.0.0.0/8", _NOT_UNICAST),
    ("10.0.0.0/8", _PRIVATE),
    ("100.64.0.0/10", _PRIVATE),
    ("127.0.0.0/8", _LOOPBACK),
    ("169.254.0.0/16", _PRIVATE),
    ("172.16.0.0/12", _PRIVATE),
    ("192.0.0.0/24", _PRIVATE),
    ("192.168.0.0/16", _PRIVATE),
    ("198.18.0.0/15", _PRIVATE),
    ("224.0.0.0/4", _NOT_UNICAST),
    ("240.0.0.0/4", _NOT_UNICAST),
    ("::/128", _NOT_UNICAST),
    ("::1/128", _LOOPBACK),
    ("100::/64", _NOT_UNICAST),
    ("fc00::/7", _PRIVATE),
    ("fe80::/10", _PRIVATE),
    ("fec0::/10", _PRIVATE),
    ("ff00::/8", _NOT_UNICAST),
)
_NETWORKS = tuple((ip_network(text), reason) for text, reason in _CLASSES)
_NAT64 = IPv6Network("64:ff9b::/96")


def destination_reason(address: Address) -> Reason | None:
    """Why a connection to this address is never redirected; None for an address of the public Internet."""
    plain = unmapped(address)
    if isinstance(plain, IPv6Address) and plain in _NAT64:
        plain = IPv4Address(int(plain) & 0xFFFF_FFFF)
    for network, reason in _NETWORKS:
        if isinstance(network, IPv4Network) is isinstance(plain, IPv4Address) and plain in network:
            return reason
    return None


def never_redirected() -> tuple[str, ...]:
    """The networks of which `destination_reason` is true; those of NAT64 by the IPv4 address inside."""
    v4 = [ip_network(text) for text, _ in _CLASSES if ":" not in text]
    inside = (f"{_NAT64.network_address + int(one.network_address)}/{96 + one.prefixlen}" for one in v4)
    return (*(text for text, _ in _CLASSES), *inside)


def not_ours(situation: Situation) -> Reason | None:
    """What both layers ask first: does anybody speak for our filters, and whose connection is it?"""
    if not situation.proxy_is_registered:
        return Reason.NO_PROXY
    if situation.lease_is_over:
        return Reason.LEASE_OVER
    return {
        Whose.APP: None,
        Whose.PROXY: Reason.OWN_PROCESS,
        Whose.SYSTEM: Reason.SYSTEM_PROCESS,
        Whose.NOBODY: Reason.UNKNOWN_PROCESS,
    }[situation.whose]


def not_redirectable(connection: Connection, situation: Situation) -> Reason | None:
    """Can it be carried to the proxy at all?"""
    if situation.raw_endpoint:
        return Reason.RAW_ENDPOINT
    if connection.protocol is not Protocol.TCP:
        return Reason.NOT_TCP
    if situation.other_compartment:
        return Reason.OTHER_COMPARTMENT
    reason = destination_reason(connection.address)
    if reason is not None:
        return reason
    if connection.port == 0:
        return Reason.NOT_UNICAST
    if situation.bound_locally:
        return Reason.LOCAL_BINDING
    is_v4 = unmapped(connection.address).version == 4
    if not (situation.has_v4 if is_v4 else situation.has_v6):
        return Reason.NO_ENDPOINT
    return None
