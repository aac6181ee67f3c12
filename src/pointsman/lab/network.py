"""The network that the lab's programs see: `--map` leads a destination elsewhere, `--resolve` gives a name an address.

It stands where routing stands on a real machine: *after* WFP.  The driver, the policy and the proxy see the address
that the program asked for; only the packets go elsewhere.  So a whole internet can be played by servers on loopback.

Values and parsing only: `connecting` and `datagrams` ask `lead`, `dns` answers names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from pointsman.errors import Exit, PointsmanError
from pointsman.lab.sockaddr import Endpoint, unmapped
from pointsman.wire.abi import Address

MAX_ENTRIES = 4096
DNS_PORT = 53
_NAME = re.compile(
    r"(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
_DO = "write --map 203.0.113.10:443=127.0.0.1:8443 (or [2001:db8::1]:*=[::1]:8443), --resolve example.com=203.0.113.10"


@dataclass(frozen=True, slots=True)
class Network:
    maps: dict[tuple[Address, int | None], Endpoint] = field(default_factory=dict)
    """Port None stands for every port that has no entry of its own."""
    names: dict[str, tuple[Address, ...]] = field(default_factory=dict)
    """Lower case, without the final dot."""

    @classmethod
    def parse(cls, maps: Iterable[str] = (), names: Iterable[str] = ()) -> Network:
        """Raises PointsmanError (PM503) for the first one that cannot be understood."""
        network = cls()
        for text in maps:
            source, target = _parse_map(text)
            network.maps[source] = target
        for text in names:
            name, address = _parse_name(text)
            network.names[name] = (*network.names.get(name, ()), address)
        if len(network.maps) + len(network.names) > MAX_ENTRIES:
            raise _nonsense(f"more than {MAX_ENTRIES} entries", "the lab network's table is full")
        return network

    def lead(self, destination: Endpoint) -> Endpoint:
        """Where packets for `destination` go."""
        if not self.maps:
            return destination
        address, port = unmapped(destination)
        target = self.maps.get((address, port)) or self.maps.get((address, None))
        return target if target is not None else destination


def _parse_map(text: str) -> tuple[tuple[Address, int | None], Endpoint]:
    source, separator, target = text.partition("=")
    if not separator:
        raise _nonsense(text, "no `=` between the destination and where it goes")
    address, port = _parse_endpoint(text, source, any_port=True)
    to_address, to_port = _parse_endpoint(text, target, any_port=False)
    assert to_port is not None
    if address.version != to_address.version:
        # A socket of one family cannot dial the other: the program's own socket is what we connect.
        raise _nonsense(text, f"IPv{address.version} cannot be led to IPv{to_address.version}")
    return (address, port), (to_address, to_port)


def _parse_endpoint(whole: str, text: str, *, any_port: bool) -> tuple[Address, int | None]:
    host, _, port_text = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise _nonsense(whole, f"`{text}` is not ADDRESS:PORT with a numeric address") from None
    if isinstance(address, IPv6Address) != bracketed:
        raise _nonsense(whole, f"`{text}`: an IPv6 address stands in brackets, an IPv4 address does not")
    if any_port and port_text == "*":
        return address, None
    if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text[:6]) < 65536):
        raise _nonsense(whole, f"`{port_text}` is not a port (1 to 65535{', or *' if any_port else ''})")
    return address, int(port_text)


def _parse_name(text: str) -> tuple[str, Address]:
    name, _, address = text.partition("=")
    name = name.strip().rstrip(".").lower()
    if not _NAME.fullmatch(name):
        raise _nonsense(text, f"`{name}` is not a host name")
    try:
        return name, ip_address(address.strip().strip("[]"))
    except ValueError:
        raise _nonsense(text, f"`{address}` is not a numeric address") from None


def _nonsense(text: str, seen: str) -> PointsmanError:
    return PointsmanError(
        f"cannot set up the lab network: {text!r} makes no sense",
        code="PM503", seen=seen, effect="the command was not started", do=_DO, status=Exit.USAGE,
    )  # fmt: skip
