"""The two connections of a flow, under the names that addons use: who dialled, where to, and what TLS has settled.

One pair for a connection, the same for all its flows; the engine fills it in as it learns.  Two of the fields are
wishes that are listened to: `error` and `address` of the server while `server_connect` is asked, and `via`, which says
through which proxy a request is to go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pointsman.engine.certificate_facts import Certificate
from pointsman.engine.flow_record import Flow
from pointsman.policy.upstreams import Upstream


class ServerSpec(NamedTuple):
    """A proxy: how it is spoken to, and where it is."""

    scheme: str
    """http, https or socks5."""
    address: tuple[str, int]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address[0]}:{self.address[1]}"


@dataclass(eq=False, repr=False, kw_only=True)
class ConnectionFacts:
    """What both have in common.  Addons may put attributes of their own on it."""

    id: str = ""
    timestamp_start: float | None = None
    """When it was opened, or was to be: seconds since 1970, UTC, as are all that follow."""
    timestamp_tls_setup: float | None = None
    timestamp_end: float | None = None
    tls: bool = False
    tls_version: str | None = None
    """`TLSv1.3`, once it is established."""
    cipher: str | None = None
    sni: str | None = None
    alpn: bytes | None = None
    """What was agreed on."""
    alpn_offers: list[bytes] = field(default_factory=list)
    error: str | None = None
    certificate_list: list[Certificate] = field(default_factory=list)
    """The origin's own, alone.  Apps have none: a proxy could not use it."""

    @property
    def tls_established(self) -> bool:
        return self.timestamp_tls_setup is not None

    @property
    def connected(self) -> bool:
        return self.timestamp_start is not None and self.timestamp_end is None


@dataclass(eq=False, repr=False, kw_only=True)
class ClientFacts(ConnectionFacts):
    """App ⇄ proxy."""

    app: str | None = None
    pid: int = 0
    peername: tuple[str, int] | None = None
    """The app's end.  None: nobody has asked for it."""
    sockname: None = None

    @property
    def address(self) -> tuple[str, int] | None:
        return self.peername

    def __repr__(self) -> str:
        return f"Client({self.id}, {self.app}, {self.pid})"


@dataclass(eq=False, repr=False)
class ServerFacts(ConnectionFacts):
    """Proxy ⇄ origin."""

    address: tuple[str, int] | None = None
    """The original destination: what the app dialled."""
    timestamp_tcp_setup: float | None = field(default=None, kw_only=True)
    via: ServerSpec | None = field(default=None, kw_only=True)
    """The proxy that it goes through; an addon may want another one, or none, for a request."""
    dialled_via: ServerSpec | None = field(default=None, kw_only=True)
    """As the engine has left it."""
    source_address: None = None

    @property
    def peername(self) -> tuple[str, int] | None:
        return self.address

    @property
    def ip_address(self) -> tuple[str, int] | None:
        return self.address

    @property
    def connected(self) -> bool:
        return self.timestamp_tcp_setup is not None and self.timestamp_end is None

    def __repr__(self) -> str:
        return f"Server({self.id}, {self.address})"


@dataclass(frozen=True, slots=True)
class HelloFacts:
    """Of a ClientHello."""

    sni: str | None
    alpn_protocols: list[bytes]


@dataclass(eq=False, slots=True)
class ContextFacts:
    client: ClientFacts
    server: ServerFacts


def facts_of(flow: Flow, *, tls: bool, sni: str | None) -> ContextFacts:
    """What is known before anything has happened."""
    address, port = flow.original_destination
    sni = sni if tls else None
    return ContextFacts(
        ClientFacts(
            id=f"c{flow.id}",
            timestamp_start=flow.time,
            tls=tls,
            sni=sni,
            app=flow.app,
            pid=flow.pid,
            peername=flow.source,
        ),
        ServerFacts((str(address), port), id=f"s{flow.id}", tls=tls, sni=sni),
    )


def spec_of(upstream: Upstream | None) -> ServerSpec | None:
    """The proxy that would be tried first."""
    if upstream is None or not upstream.alternatives:
        return None
    hop = upstream.alternatives[0][0]
    return ServerSpec(hop.scheme, (hop.host, hop.port))
