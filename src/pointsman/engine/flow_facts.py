"""The two connections of a flow as facts to read: who dialled, and where to.

Views on what the engine knows, under the names that addons use; nothing can be changed through them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.engine.flow_record import Flow


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """App ⇄ proxy."""

    id: str
    app: str | None
    pid: int
    timestamp_start: float
    tls: bool
    sni: str | None
    alpn: bytes | None = None
    peername: None = None
    """The app's own address and port are not kept: the app and its PID say who it is."""

    @property
    def tls_established(self) -> bool:
        return self.tls

    @property
    def address(self) -> None:
        return self.peername


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Proxy ⇄ origin."""

    id: str
    address: tuple[str, int]
    """The original destination: what the app dialled."""
    tls: bool
    sni: str | None

    @property
    def peername(self) -> tuple[str, int]:
        return self.address

    @property
    def ip_address(self) -> tuple[str, int]:
        return self.address

    @property
    def tls_established(self) -> bool:
        return self.tls


@dataclass(frozen=True, slots=True)
class HelloFacts:
    """Of a ClientHello."""

    sni: str | None
    alpn_protocols: list[bytes]


@dataclass(frozen=True, slots=True)
class ContextFacts:
    client: ClientFacts
    server: ServerFacts


def client_of(flow: Flow, *, tls: bool, sni: str | None, alpn: bytes | None = None) -> ClientFacts:
    return ClientFacts(f"c{flow.id}", flow.app, flow.pid, flow.time, tls, sni if tls else None, alpn)


def server_of(flow: Flow, *, tls: bool, sni: str | None) -> ServerFacts:
    address, port = flow.original_destination
    return ServerFacts(f"s{flow.id}", (str(address), port), tls, sni if tls else None)
