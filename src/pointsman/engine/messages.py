"""HTTP messages as something that may be changed: what an intercepted exchange consists of.

The engine fills these in, whoever is consulted (addons) reads and changes them, and the engine sends what they say
then.  It must not know who that is, nor how a message travels: the same values serve HTTP/1.1 and HTTP/2.  The fields
are what the engine goes by; properties and methods are conveniences for those who write addons, under the names that
they know.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pointsman.engine.fields import Field, Headers
from pointsman.engine.flow_facts import (
    ClientFacts,
    ConnectionFacts,
    ContextFacts,
    HelloFacts,
    ServerFacts,
    facts_of,
)
from pointsman.engine.flow_record import Flow
from pointsman.engine.flow_state import http_state, tcp_state
from pointsman.engine.injection import Injections
from pointsman.engine.message_body import Transform
from pointsman.engine.request import Request
from pointsman.engine.response import Response
from pointsman.engine.websocket_flow import WebSocketData, WebSocketMessage

__all__ = [
    "ConnectionNotice", "Field", "FlowError", "Headers", "HttpFlow", "Request", "Response", "Subject", "TcpMessage",
    "Transform", "WebSocketData", "WebSocketMessage",
]  # fmt: skip


class FlowError(str):
    """Why a flow ended without an answer: a text that knows when."""

    KILLED_MESSAGE = "Connection killed."
    timestamp: float = 0.0
    """Seconds since 1970, UTC."""

    @classmethod
    def at(cls, text: str, timestamp: float) -> FlowError:
        error = cls(text)
        error.timestamp = timestamp
        return error

    @property
    def msg(self) -> str:
        return str(self)


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
    error: FlowError | None = None
    killed: bool = False
    """Set anywhere: reset it."""
    websocket: WebSocketData | None = None
    """Once it is one that somebody listens to."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Whoever is consulted keeps its own things here."""
    comment: str = ""
    marked: str = ""
    facts: ContextFacts | None = None
    """The same for all flows of a connection.  None: they are made up from what is known of it."""
    own_server: ServerFacts | None = None
    """Set by an addon: not the origin that the app dialled."""

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
    def context(self) -> ContextFacts:
        """Both connections."""
        if self.facts is None:
            request = self.request
            self.facts = facts_of(self.flow, tls=request.scheme == "https", sni=request.pretty_host)
            if request.scheme == "https":  # or there would be no request
                for conn in (self.facts.client, self.facts.server):
                    conn.timestamp_tls_setup = request.timestamp_start
        return self.facts

    @property
    def client_conn(self) -> ClientFacts:
        return self.context.client

    @property
    def server_conn(self) -> ServerFacts:
        return self.own_server or self.context.server

    @server_conn.setter
    def server_conn(self, server: ServerFacts) -> None:
        """A connection of its own for this flow, made when its request is sent."""
        self.own_server = server

    def get_state(self) -> dict[str, Any]:
        """Plain values, for whoever writes it down."""
        return http_state(self)

    def __repr__(self) -> str:
        return f"HttpFlow({self.id}, {self.app}, {self.request!r}, {self.response!r})"

    @property
    def messages(self) -> list[WebSocketMessage]:
        """Of a WebSocket."""
        return self.websocket.messages if self.websocket is not None else []

    @messages.setter
    def messages(self, messages: list[WebSocketMessage]) -> None:
        if self.websocket is None:
            self.websocket = WebSocketData()
        self.websocket.messages = messages

    def copy(self) -> HttpFlow:
        """An independent one; the connection that it is of stays the same."""
        socket = self.websocket
        if socket is not None:  # a copy has no connection that could carry anything
            socket = replace(socket, messages=deepcopy(socket.messages), injections=None)
        return HttpFlow(
            self.number, self.flow, self.decision, self.rule, self.request.copy(), deepcopy(self.response),
            self.error, self.killed, socket, dict(self.extra), self.comment, self.marked,
            self.facts, self.own_server,
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
    injections: Injections | None = None
    """As `extra`.  None: nobody would carry what is injected."""
    injected: bool = False
    """It was made up by an addon."""
    timestamp: float = 0.0
    """Seconds since 1970, UTC."""
    facts: ContextFacts | None = None
    past: list[TcpMessage] = field(default_factory=list)
    """Pieces before this one, as they were sent; the last ones, bounded by the engine.  The same for all."""
    is_piece: bool = True
    """False: it stands for the stream as such, in `tcp_start` and its like."""
    live: ClassVar[bool] = True

    @property
    def id(self) -> str:
        return f"{self.flow.id}-tcp"

    @property
    def type(self) -> str:
        return "tcp"

    def get_state(self) -> dict[str, Any]:
        """As of an HttpFlow."""
        return tcp_state(self)

    @property
    def messages(self) -> list[TcpMessage]:
        """Those before it that are still remembered, and the piece at hand."""
        return [*self.past, self] if self.is_piece else list(self.past)

    @property
    def error(self) -> str | None:
        error = self.extra.get("error")
        return error if isinstance(error, str) else None

    @property
    def context(self) -> ContextFacts:
        """As of an HttpFlow."""
        if self.facts is None:
            self.facts = facts_of(self.flow, tls=False, sni=None)
        return self.facts

    @property
    def client_conn(self) -> ClientFacts:
        return self.context.client

    @property
    def server_conn(self) -> ServerFacts:
        return self.context.server


@dataclass(slots=True, eq=False)
class ConnectionNotice:
    """What hooks about a connection as such are given.  Other attributes are those of `conn`."""

    flow: Flow
    decision: str | None
    rule: str | None
    host: str | None
    alpn: tuple[str, ...] = ()
    error: str | None = None
    ignore: bool = False
    """Set in `tls_clienthello`: relay this connection, do not decrypt it."""
    killed: bool = False
    """Set in `server_connect`: do not dial, reset the app."""
    extra: dict[str, Any] = field(default_factory=dict)
    facts: ContextFacts | None = None
    about_server: bool = False
    ssl_conn: ClassVar[None] = None
    is_dtls: ClassVar[bool] = False

    def about(self, conn: ConnectionFacts) -> ConnectionNotice:
        """The same for a hook that is about this one of the two."""
        return replace(self, about_server=conn is self.context.server)

    def kill(self) -> None:
        self.killed = True

    @property
    def id(self) -> str:
        return f"c{self.flow.id}"

    @property
    def metadata(self) -> dict[str, Any]:
        return self.extra

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
    def context(self) -> ContextFacts:
        if self.facts is None:
            self.facts = facts_of(self.flow, tls=self.host is not None, sni=self.host)
        return self.facts

    @property
    def client(self) -> ClientFacts:
        return self.context.client

    @property
    def server(self) -> ServerFacts:
        return self.context.server

    @property
    def conn(self) -> ConnectionFacts:
        """The side that it is about."""
        return self.server if self.about_server else self.client

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.conn, name)

    @property
    def address(self) -> tuple[str, int] | None:
        return self.server.address


Subject = HttpFlow | TcpMessage | ConnectionNotice
