"""Other proxies that a connection may go on through: chains of them, and what holds if one fails.

Pure values, already checked; `load_upstreams` makes them.  Nothing here knows how to speak to a proxy.  Credentials are
never part of what is printed: `str()` and `repr()` of everything here may go into a log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address

MAX_ALTERNATIVES = 16  # chains of one upstream
MAX_HOPS = 8  # proxies of one chain


class Speaks(Enum):
    """The language of a proxy."""

    CONNECT = "http"
    SOCKS5 = "socks5"


SCHEMES: dict[str, tuple[Speaks, bool]] = {
    "http": (Speaks.CONNECT, False),
    "https": (Speaks.CONNECT, True),
    "socks5": (Speaks.SOCKS5, False),
    "socks5h": (Speaks.SOCKS5, False),
    "socks5+tls": (Speaks.SOCKS5, True),
}
"""What each scheme means: the language, and whether it is spoken inside TLS."""


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where credentials (`user:password`) are to be found when they are needed."""

    kind: str
    """`env` or `file`."""
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Hop:
    scheme: str
    host: str
    """A name in lower case or an address, without brackets."""
    port: int
    credentials: Credentials | SecretReference | None = field(default=None, repr=False)

    @property
    def speaks(self) -> Speaks:
        return SCHEMES[self.scheme][0]

    @property
    def tls(self) -> bool:
        """We speak TLS with the proxy itself."""
        return SCHEMES[self.scheme][1]

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """None for a name, which has to be looked up."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def place(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}"


Chain = tuple[Hop, ...]
"""Proxies, each reached through those before it; the first is the one that we connect to."""


@dataclass(frozen=True, slots=True)
class Upstream:
    name: str
    alternatives: tuple[Chain, ...]
    """In order: the first that works is used."""
    may_go_direct: bool = False
    """If none of them works.  Otherwise the connection fails: it never goes around the proxy that was asked for."""
    asks_by_name: bool = True
    """The last proxy gets the host name, where one is known, and looks it up; else the address that the app dialled."""
    line: int = field(default=0, compare=False)
    """Where it stands in the source, from 1."""


def words_of(chain: Chain) -> str:
    """For people: `http://a:3128 > socks5://b:1080`."""
    return " > ".join(map(str, chain))
