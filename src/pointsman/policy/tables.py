"""Sets of host names and of networks that answer in microseconds, however many there are.

Pure.  Names are kept in one table for exact names and one for "everything below": a look-up strips label after label.
Networks are kept in one table for each length of prefix that occurs: a look-up tries each length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
MAPPED = IPv6Network("::ffff:0:0/96")
_BITS = {4: 32, 6: 128}


def unmapped(address: Address) -> Address:
    """A connection to an IPv4-mapped IPv6 address *is* an IPv4 connection."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@dataclass(frozen=True, slots=True)
class HostSet:
    """A-labels in lower case.  An empty set means that nobody asked for a host."""

    exact: frozenset[str] = frozenset()
    below: frozenset[str] = frozenset()
    """`example.com` here is any name below example.com, but not that name."""

    @classmethod
    def of(cls, patterns: Iterable[str]) -> HostSet:
        """Of names and `*.name`, both checked before."""
        listed = list(patterns)
        return cls(
            frozenset(one for one in listed if not one.startswith("*.")),
            frozenset(one[2:] for one in listed if one.startswith("*.")),
        )

    def __bool__(self) -> bool:
        return bool(self.exact or self.below)

    def __len__(self) -> int:
        return len(self.exact) + len(self.below)

    def __iter__(self) -> Iterator[str]:
        yield from sorted(self.exact)
        yield from sorted("*." + name for name in self.below)

    def matches(self, host: str) -> bool:
        return self.match(host) is not None

    def match(self, host: str) -> str | None:
        """The pattern that matches, the most exact one."""
        name = host.lower().removesuffix(".")
        if name in self.exact:
            return name
        if not self.below:
            return None
        dot = name.find(".")
        while dot > 0:
            rest = name[dot + 1 :]
            if rest in self.below:
                return "*." + rest
            dot = name.find(".", dot + 1)
        return None


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """An empty set means that nobody asked for an address.  IPv4-mapped networks are IPv4 networks here."""

    prefixes: Mapping[tuple[int, int], frozenset[int]] = field(default_factory=dict)
    """(version, length of the prefix) → the prefixes as numbers of that many bits."""

    @classmethod
    def of(cls, networks: Iterable[Network]) -> NetworkSet:
        found: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            add_prefix(found, network.version, int(network.network_address), network.prefixlen)
        return cls.made(found)

    @classmethod
    def made(cls, prefixes: Mapping[tuple[int, int], set[int]]) -> NetworkSet:
        return cls({key: frozenset(found) for key, found in sorted(prefixes.items())})

    def __bool__(self) -> bool:
        return bool(self.prefixes)

    def __len__(self) -> int:
        return sum(map(len, self.prefixes.values()))

    def __iter__(self) -> Iterator[Network]:
        for (version, length), found in self.prefixes.items():
            kind = IPv4Network if version == 4 else IPv6Network
            for prefix in sorted(found):
                yield kind((prefix << _BITS[version] - length, length))

    def matches(self, address: Address) -> bool:
        plain = unmapped(address)
        version, number = plain.version, int(plain)
        bits = _BITS[version]
        return any(of == version and number >> bits - length in found for (of, length), found in self.prefixes.items())

    def match(self, address: Address) -> Network | None:
        """The shortest prefix that holds this address."""
        plain = unmapped(address)
        version, number = plain.version, int(plain)
        bits = _BITS[version]
        for (of, length), found in self.prefixes.items():
            if of == version and number >> bits - length in found:
                kind = IPv4Network if version == 4 else IPv6Network
                return kind((number >> bits - length << bits - length, length))
        return None


def add_prefix(prefixes: dict[tuple[int, int], set[int]], version: int, number: int, length: int) -> None:
    """Add a network whose address is `number`; a mapped one becomes IPv4."""
    if version == 6 and length >= 96 and number >> 32 == 0xFFFF:
        version, number, length = 4, number & 0xFFFF_FFFF, length - 96
    prefixes.setdefault((version, length), set()).add(number >> _BITS[version] - length)
