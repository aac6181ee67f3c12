"""What happens to a connection, told to the engine.

Plain values.  Nobody but the engine decides what follows from them; whoever makes them (`server`, or a test) has done
nothing about them yet.
"""

from __future__ import annotations

import ssl
from enum import Enum
from typing import Final

from msgspec import Struct


class Side(Enum):
    DOWNSTREAM = "downstream"
    """App ⇄ proxy."""
    UPSTREAM = "upstream"
    """Proxy ⇄ origin."""

    other: Side
    __hash__ = object.__hash__  # Enum's own is written in Python, and every chunk of bytes looks a side up


DOWNSTREAM: Final = Side.DOWNSTREAM
UPSTREAM: Final = Side.UPSTREAM
"""For what looks at each chunk of bytes: up to Python 3.11 a member is found by its class in ten times the time."""
DOWNSTREAM.other, UPSTREAM.other = UPSTREAM, DOWNSTREAM


class Received(Struct, frozen=True, gc=False):
    side: Side
    data: bytes


class Ended(Struct, frozen=True, gc=False):
    """The peer of this side will send no more (FIN); it may still read."""

    side: Side


class Lost(Struct, frozen=True, gc=False):
    """This side is gone in both directions (RST, a failed write)."""

    side: Side
    error: str


class Connected(Struct, frozen=True, gc=False):
    """Upstream, in answer to `Dial`."""

    via: str | None = None
    """The proxies that it went through, for people."""


class ConnectFailed(Struct, frozen=True, gc=False):
    error: str


class Congested(Struct, frozen=True, gc=False):
    """More bytes wait to be sent to this side than is good."""

    side: Side


class Drained(Struct, frozen=True, gc=False):
    """`Congested` is over."""

    side: Side


class LeafReady(Struct, frozen=True, gc=False):
    """In answer to `MintLeaf`: a server context with the leaf."""

    context: ssl.SSLContext


class LeafFailed(Struct, frozen=True, gc=False):
    error: str


class Consulted(Struct, frozen=True, gc=False):
    """In answer to `Consult`: whoever listens has changed its subject as they wanted."""

    number: int


class Stopping(Struct, frozen=True, gc=False):
    """The proxy stops and will not wait for this connection any longer."""


Event = (
    Received | Ended | Lost | Connected | ConnectFailed | Congested | Drained | LeafReady | LeafFailed | Consulted
    | Stopping
)  # fmt: skip
