"""`struct sockaddr` ⇄ destinations: what a program handed to the kernel.  Pure; the kernel's rules on lengths are here.

A destination of an IPv6 socket may be IPv4 in disguise (::ffff:a.b.c.d).  WFP and the driver see it as the program
wrote it, the maps of the lab network and the proxy see plain IPv4: `unmapped` and `for_family` go between the two.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from pointsman.wire.abi import Address

MAX_SIZE = 128  # bytes: sizeof(struct sockaddr_storage); the kernel takes no more
_FAMILY = struct.Struct("=H")
_V4 = struct.Struct("!2xH4s")
_V6 = struct.Struct("!2xHI16s")
_V4_SIZE, _V6_SIZE, _V6_SCOPE_AT = 16, 24, 24  # sizeof(sockaddr_in), SIN6_LEN_RFC2133, offset of sin6_scope_id

Endpoint = tuple[Address, int]
"""Address and port."""


@dataclass(frozen=True, slots=True)
class Destination:
    address: Address
    port: int
    flow_info: int = 0
    scope: int = 0

    @property
    def endpoint(self) -> Endpoint:
        return (self.address, self.port)

    def towards(self, endpoint: Endpoint) -> Destination:
        """The same if it goes there already: a scope id has a meaning with its own address only."""
        return self if endpoint == self.endpoint else Destination(*endpoint)

    def for_family(self, family: int) -> Destination:
        """As a socket of this family wants it."""
        if family == socket.AF_INET6 and isinstance(self.address, IPv4Address):
            return replace(self, address=IPv6Address(b"\0" * 10 + b"\xff\xff" + self.address.packed))
        return self

    def as_python(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """For `socket.connect`."""
        if isinstance(self.address, IPv4Address):
            return (str(self.address), self.port)
        return (str(self.address), self.port, self.flow_info, self.scope)


def family_of(data: bytes) -> int:
    """AF_UNSPEC for bytes too few to say."""
    return int(_FAMILY.unpack_from(data)[0]) if len(data) >= _FAMILY.size else socket.AF_UNSPEC


def decode(data: bytes) -> Destination | None:
    """None for another family, or if the kernel would refuse the length: let it do so."""
    family = family_of(data)
    if family == socket.AF_INET and len(data) >= _V4_SIZE:
        port, packed = _V4.unpack_from(data)
        return Destination(IPv4Address(packed), port)
    if family == socket.AF_INET6 and len(data) >= _V6_SIZE:
        port, flow_info, packed = _V6.unpack_from(data)
        scope = struct.unpack_from("=I", data, _V6_SCOPE_AT)[0] if len(data) >= _V6_SCOPE_AT + 4 else 0
        return Destination(IPv6Address(packed), port, flow_info & 0xFFFFF, scope)
    return None


def unix_path(data: bytes) -> str:
    """The file of an AF_UNIX address; empty for unnamed and abstract ones."""
    return data[2:].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def unmapped(endpoint: Endpoint) -> Endpoint:
    address, port = endpoint
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return (address.ipv4_mapped, port)
    return endpoint


def from_python(name: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """What `getsockname` and `getpeername` give."""
    return (ip_address(name[0].partition("%")[0]), name[1])
