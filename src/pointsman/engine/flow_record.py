"""What is said about a flow once it is over: one record per HTTP exchange, or one per connection if there was none.

A plain value; where it is written is decided in `control`.
"""

from __future__ import annotations

from msgspec import Struct

from pointsman.policy.match import Address
from pointsman.wire.process_facts import ProcessFacts

PATH_LIMIT = 2048  # characters; a longer path is cut
METHOD_LIMIT = 32  # characters


class Flow(Struct, frozen=True, gc=False):
    """What is known of a redirected connection before it has said a word."""

    id: int
    time: float
    """When it reached us: seconds since 1970, UTC."""
    app: str | None
    pid: int
    original_destination: tuple[Address, int]
    process: ProcessFacts | None = None
    """None: not asked, or the process is gone."""
    source: tuple[str, int] | None = None
    """The app's end of the connection to us.  None: nobody wants to know."""


class FlowRecord(Struct, frozen=True, gc=False):
    flow: int
    time: float
    """Start of the exchange or connection: seconds since 1970, UTC."""
    app: str | None
    pid: int
    address: str
    """Of the original destination, as are `port`."""
    port: int
    host: str | None
    decision: str | None
    """An `Action`; None if the connection ended before there was one."""
    rule: str | None
    protocol: str
    """tls, http/1.1 or h2c in clear, https or h2 (HTTP/1.1 or 2 inside TLS that we opened) or tcp."""
    method: str | None = None
    path: str | None = None
    status: int | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    duration_ms: float = 0.0
    error: str | None = None
    upstream: str | None = None
    """The upstream of the rule, and the proxies of it that the connection went through."""
    note: str | None = None
    """Something a reader should know that is no error."""
