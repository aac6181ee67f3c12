"""What happens to a connection, told to the engine.

Plain values.  Nobody but the engine decides what follows from them; whoever makes them (`server`, or a test) has done
nothing about them yet.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import Enum


class Side(Enum):
    DOWNSTREAM = "downstream"
    """App ⇄ proxy."""
    UPSTREAM = "upstream"
    """Proxy ⇄ origin."""

    @property
    def other(self) -> Side:
        return Side.UPSTREAM if self is Side.DOWNSTREAM else Side.DOWNSTREAM


@dataclass(frozen=True, slots=True)
class Received:
    side: Side
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The peer of this side will send no more (FIN); it may still read."""

    side: Side


@dataclass(frozen=True, slots=True)
class Lost:
    """This side is gone in both directions (RST, a failed write)."""

    side: Side
    error: str


@dataclass(frozen=True, slots=True)
class Connected:
    """Upstream, in answer to `Dial`."""


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    error: str


@dataclass(frozen=True, slots=True)
class Congested:
    """More bytes wait to be sent to this side than is good."""

    side: Side


@dataclass(frozen=True, slots=True)
class Drained:
    """`Congested` is over."""

    side: Side


@dataclass(frozen=True, slots=True)
class LeafReady:
    """In answer to `MintLeaf`: a server context with the leaf."""

    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class LeafFailed:
    error: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The proxy stops and will not wait for this connection any longer."""


Event = Received | Ended | Lost | Connected | ConnectFailed | Congested | Drained | LeafReady | LeafFailed | Stopping
