"""HTTP messages as something that may be changed: what an intercepted exchange consists of.

The engine fills these in, whoever is consulted (addons) reads and changes them, and the engine sends what they say
then.  It must not know who that is, nor how a message travels: the same values serve HTTP/1.1 and HTTP/2.  The fields
are what the engine goes by; properties and methods are conveniences for those who write addons, under the names that
they know.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pointsman.engine.fields import Field, Headers
from pointsman.engine.flow_facts import ClientFacts, ContextFacts, HelloFacts, ServerFacts, client_of, server_of
from pointsman.engine.flow_record import Flow
from pointsman.engine.message_body import Transform
from pointsman.engine.request import Request
from pointsman.engine.response import Response

__all__ = [
    "ConnectionNotice", "Field", "Headers", "HttpFlow", "Request", "Response", "Subject", "TcpMessage", "Transform",
    "WebSocketMessage",
]  # fmt: skip


@dataclass(slots=True)
class WebSocketMessage:
    from_client: bool
    is_text: bool
    content: bytes
    """After permessage-deflate, all fragments together."""
    timestamp: float
    dropped: bool = False

    @property
    def text(self) -> str:
        """Raises AttributeError for a binary message, as addons expect."""
        if not self.is_text:
            raise AttributeError("a binary message has no text")
        return self.content.decode("utf-8", "surrogateescape")

    @text.setter
    def text(self, value: str) -> None:
        self.content = value.encode("utf-8", "surrogateescape")

    def drop(self) -> None:
        """Do not pass it on."""
        self.dropped = True


class _Killable:
    """Methods only."""

    killed: bool
    extra: dict[str, Any]

    def kill(self) -> None:
        """Reset it; the peer sees no answer."""
        self.killed = True

    @property
    def killable(self) -> bool:
        return not self.killed

    @property
    def metadata(self) -> dict[str, Any]:
        """Whatever addons want to keep with it."""
        return self.extra


@dataclass(eq=False, repr=False)
class HttpFlow(_Killable):
    """One exchange, or one WebSocket.  Addons may put attributes of their own on it."""

    number: int
    """Unique in this connection."""
    flow: Flow
    """The connection: app, PID, original destination."""
    decision: str
    rule: str
    request: Request
    response: Response | None = None
    """Set in `requestheaders` or `request`: the answer is this, and the origin is not asked."""
    error: str | None = None
    killed: bool = False
    """Set anywhere: reset it."""
    messages: list[WebSocketMessage] = field(default_factory=list)
    """Of a WebSocket; the last one is what `websocket_message` is about.  Bounded by the engine."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Whoever is consulted keeps its own things here."""
    comment: str = ""
    marked: str = ""

    type = "http"
    live = True
    intercepted = False
    is_replay: str | None = None

    @property
    def id(self) -> str:
        """Unique in a run of the proxy."""
        return f"{self.flow.id}-{self.number}"

    @property
    def app(self) -> str | None:
        return self.flow.app

    @property
    def pid(self) -> int:
        return self.flow.pid

    @property
    def timestamp_start(self) -> float:
        return self.request.timestamp_start

    @property
    def timestamp_created(self) -> float:
        return self.request.timestamp_start

    @property
    def client_conn(self) -> ClientFacts:
        tls = self.request.scheme == "https"
        return client_of(self.flow, tls=tls, sni=self.request.pretty_host)

    @property
    def server_conn(self) -> ServerFacts:
        tls = self.request.scheme == "https"
        return server_of(self.flow, tls=tls, sni=self.request.pretty_host)

    def __repr__(self) -> str:
        return f"HttpFlow({self.id}, {self.app}, {self.request!r}, {self.response!r})"

    @property
    def websocket(self) -> HttpFlow | None:
        """Itself, which has `messages`, once it is a WebSocket."""
        upgraded = self.response is not None and self.response.headers.get("upgrade", "").lower() == "websocket"
        return self if self.messages or upgraded else None

    def copy(self) -> HttpFlow:
        """An independent one; the connection that it is of stays the same."""
        return HttpFlow(
            self.number, self.flow, self.decision, self.rule, self.request.copy(), deepcopy(self.response),
            self.error, self.killed, deepcopy(self.messages), dict(self.extra), self.comment, self.marked,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class TcpMessage(_Killable):
    """A piece of an intercepted stream that is no HTTP."""

    flow: Flow
    decision: str
    rule: str
    from_client: bool
    content: bytes
    killed: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    """The same for all pieces of one connection."""

    @property
    def id(self) -> str:
        return f"{self.flow.id}-tcp"

    @property
    def type(self) -> str:
        return "tcp"

    @property
    def messages(self) -> list[TcpMessage]:
        """The piece at hand, alone: earlier ones are gone, so that a stream of any length takes no memory."""
        return [self]

    @property
    def client_conn(self) -> ClientFacts:
        return client_of(self.flow, tls=False, sni=None)

    @property
    def server_conn(self) -> ServerFacts:
        return server_of(self.flow, tls=False, sni=None)


@dataclass(slots=True, eq=False)
class ConnectionNotice:
    """`client_connected`, `client_disconnected`, `tls_clienthello`, `server_connected`."""

    flow: Flow
    decision: str | None
    rule: str | None
    host: str | None
    alpn: tuple[str, ...] = ()
    error: str | None = None
    ignore: bool = False
    """Set in `tls_clienthello`: relay this connection, do not decrypt it."""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"c{self.flow.id}"

    @property
    def ignore_connection(self) -> bool:
        return self.ignore

    @ignore_connection.setter
    def ignore_connection(self, value: bool) -> None:
        self.ignore = value

    @property
    def client_hello(self) -> HelloFacts:
        return HelloFacts(self.host, [name.encode() for name in self.alpn])

    @property
    def client(self) -> ClientFacts:
        return client_of(self.flow, tls=self.host is not None, sni=self.host)

    @property
    def server(self) -> ServerFacts:
        return server_of(self.flow, tls=self.host is not None, sni=self.host)

    @property
    def context(self) -> ContextFacts:
        return ContextFacts(self.client, self.server)

    @property
    def peername(self) -> None:
        return None

    @property
    def address(self) -> tuple[str, int]:
        return self.server.address


Subject = HttpFlow | TcpMessage | ConnectionNotice
