"""HTTP messages as something that may be changed: what an intercepted exchange consists of.

The engine fills these in, whoever is consulted (addons) reads and changes them, and the engine sends what they say
then.  It must not know who that is, nor how a message travels: the same values serve HTTP/1.1 and HTTP/2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pointsman.engine.flow_record import Flow

Field = tuple[bytes, bytes]
Transform = Callable[[bytes], bytes | Iterable[bytes]]
"""Given each piece of a streamed body as it comes, and b"" at its end; what it returns is sent instead."""


class Headers:
    """Header fields in their order, names as sent; looking one up does not mind letter case (RFC 9110 5)."""

    __slots__ = ("fields",)

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        self.fields: list[Field] = list(fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(True for _ in self._matching(name))

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        self.set_all(name, [value])

    def __delitem__(self, name: str) -> None:
        kept = [one for one in self.fields if one[0].lower() != _raw(name).lower()]
        if len(kept) == len(self.fields):
            raise KeyError(name)
        self.fields[:] = kept

    def __iter__(self) -> Iterator[str]:
        """Each name once."""
        seen = set()
        for name, _ in self.fields:
            if name.lower() not in seen:
                seen.add(name.lower())
                yield _text(name)

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.fields})

    def get_all(self, name: str) -> list[str]:
        return [_text(value) for value in self._matching(name)]

    def set_all(self, name: str, values: Iterable[str]) -> None:
        """In the place of the first one that was there."""
        raw, wanted = _raw(name), [(_raw(name), _raw(value)) for value in values]
        at = next((i for i, one in enumerate(self.fields) if one[0].lower() == raw.lower()), len(self.fields))
        rest = [one for one in self.fields[at:] if one[0].lower() != raw.lower()]
        self.fields[at:] = [*wanted, *rest]

    def add(self, name: str, value: str) -> None:
        self.fields.append((_raw(name), _raw(value)))

    def _matching(self, name: str) -> Iterator[bytes]:
        raw = _raw(name).lower()
        return (value for key, value in self.fields if key.lower() == raw)


@dataclass(slots=True)
class Request:
    method: str
    scheme: str
    """http or https."""
    authority: str
    """As in Host or :authority, with the port if it was there."""
    path: str
    """The request target with its query; `*` and absolute forms as sent."""
    http_version: str
    """HTTP/1.0, HTTP/1.1 or HTTP/2.0."""
    headers: Headers
    raw_content: bytes | None = b""
    """The body as it travels (encoded); None while it is unknown or if it is streamed."""
    trailers: Headers | None = None
    timestamp_start: float = 0.0
    """Seconds since 1970, UTC."""
    timestamp_end: float | None = None
    stream: bool | Transform = False
    """Set in `requestheaders`: do not gather the body, pass it on as it comes."""


@dataclass(slots=True)
class Response:
    status_code: int
    reason: str
    http_version: str
    headers: Headers
    raw_content: bytes | None = b""
    trailers: Headers | None = None
    timestamp_start: float = 0.0
    timestamp_end: float | None = None
    stream: bool | Transform = False
    """Set in `responseheaders`."""


@dataclass(slots=True)
class WebSocketMessage:
    from_client: bool
    is_text: bool
    content: bytes
    """After permessage-deflate, all fragments together."""
    timestamp: float
    dropped: bool = False


@dataclass(slots=True)
class HttpFlow:
    """One exchange, or one WebSocket."""

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


@dataclass(slots=True)
class TcpMessage:
    """A piece of an intercepted stream that is no HTTP."""

    flow: Flow
    decision: str
    rule: str
    from_client: bool
    content: bytes
    killed: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    """The same for all pieces of one connection."""


@dataclass(slots=True)
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


Subject = HttpFlow | TcpMessage | ConnectionNotice


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
