"""Between HTTP/2 field lists and messages as they may be changed (RFC 9113 8.1 to 8.3).

It decides which lists are malformed: those are refused, stream by stream.
"""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.engine.messages import Headers, Request, Response
from pointsman.engine.rebuild import Context
from pointsman.wire.hpack import Field
from pointsman.wire.http1_heads import is_host, is_name, is_value
from pointsman.wire.http_head import host_of_authority

_OF_CONNECTIONS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_OF_REQUESTS = frozenset((b":method", b":scheme", b":path", b":authority", b":protocol"))
PROTOCOL = "http2-protocol"
"""Key in `HttpFlow.extra` for the `:protocol` of an extended CONNECT (RFC 8441)."""


class MalformedError(ValueError):
    """A stream error, PROTOCOL_ERROR."""


def new_request(fields: tuple[Field, ...], context: Context, now: float) -> tuple[Request, str | None, bytes | None]:
    """And the host it is for, if it is a name or an address, and its `:protocol`.  Raises MalformedError."""
    pseudo, rest = _split(fields, _OF_REQUESTS)
    method = pseudo.get(b":method", b"")
    protocol = pseudo.get(b":protocol")
    if not is_name(method):
        raise MalformedError("no method")
    if method != b"CONNECT" and protocol is not None:
        raise MalformedError("a protocol without CONNECT")
    if method == b"CONNECT" and protocol is None:
        if b":path" in pseudo or b":scheme" in pseudo or not pseudo.get(b":authority"):
            raise MalformedError("a CONNECT with a path or without an authority")
    elif b":scheme" not in pseudo or not pseudo.get(b":path"):
        raise MalformedError("no scheme or no path")
    path = pseudo.get(b":path", b"")
    if b" " in path or b"\t" in path or (path and not path.startswith((b"/", b"*")) and method != b"CONNECT"):
        raise MalformedError("a path that is none")
    hosts = [value for name, value in rest if name == b"host"]
    authority = pseudo.get(b":authority")
    if len(hosts) > 1 or (authority is not None and hosts and hosts[0].lower() != authority.lower()):
        raise MalformedError("two hosts")
    raw_named = authority if authority is not None else hosts[0] if hosts else b""
    # RFC 9110 4.2: a URL of http or https without a host is none, and an origin takes offence; 9113 8.3.1: nor a user.
    if not raw_named or not is_host(raw_named):
        raise MalformedError("no host")
    named = raw_named.decode("ascii")
    request = Request(
        method=method.decode("ascii"),
        scheme=_text(pseudo.get(b":scheme", context.scheme.encode())),
        authority=named,
        path=_text(path),
        http_version="HTTP/2.0",
        headers=Headers(rest),
        raw_content=None,
        timestamp_start=context.wall(now),
    )
    return request, host_of_authority(named), protocol


def new_response(fields: tuple[Field, ...], context: Context, now: float) -> Response:
    """Raises MalformedError."""
    pseudo, rest = _split(fields, frozenset((b":status",)))
    status = pseudo.get(b":status", b"")
    if len(status) != 3 or not status.isdigit() or status < b"100" or status == b"101":
        raise MalformedError("no status")
    return Response(int(status), "", "HTTP/2.0", Headers(rest), None, timestamp_start=context.wall(now))


def new_trailers(fields: tuple[Field, ...]) -> Headers:
    """Raises MalformedError."""
    return Headers(_split(fields, frozenset())[1])


def request_fields(request: Request, protocol: bytes | None) -> list[Field]:
    """Raises MalformedError for what a listener has made of it, if it cannot be sent."""
    pseudo = [(b":method", _raw(request.method))]
    if request.method != "CONNECT" or protocol is not None:
        pseudo += [(b":scheme", _raw(request.scheme)), (b":path", _raw(request.path))]
    if request.authority:
        pseudo.append((b":authority", _raw(request.authority)))
    if protocol is not None:
        pseudo.append((b":protocol", protocol))
    rest = lowered(request.headers.fields)
    if request.authority:
        rest = [(name, _raw(request.authority)) if name == b"host" else (name, value) for name, value in rest]
    return _checked([*pseudo, *rest])


def response_fields(response: Response) -> list[Field]:
    """As `request_fields`."""
    status = b"%d" % response.status_code
    if len(status) != 3:
        raise MalformedError("no status can be made of this")
    return _checked([(b":status", status), *lowered(response.headers.fields)])


def lowered(fields: Iterable[Field]) -> list[Field]:
    """Without what HTTP/2 has no fields for."""
    result = [(name.lower(), value) for name, value in fields]
    return [field for field in result if field[0] not in _OF_CONNECTIONS]


def content_length(headers: Headers) -> int | None:
    """Raises MalformedError."""
    lengths = headers.get_all("content-length")
    if not lengths:
        return None
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()) or len(lengths[0]) > 18:
        raise MalformedError("a length that is none, or two")
    return int(lengths[0])


def _split(fields: tuple[Field, ...], allowed: frozenset[bytes]) -> tuple[dict[bytes, bytes], list[Field]]:
    pseudo: dict[bytes, bytes] = {}
    rest: list[Field] = []
    for name, value in fields:
        if not is_value(value) or value.strip(b" \t") != value:
            raise MalformedError("a value that is none")
        if name.startswith(b":"):
            if rest or name in pseudo or name not in allowed:
                raise MalformedError("a pseudo field out of its place")
            pseudo[name] = value
            continue
        if not is_name(name) or name.lower() != name:
            raise MalformedError("a field that is none")
        if name in _OF_CONNECTIONS or (name == b"te" and value.lower() != b"trailers"):
            raise MalformedError("a field of HTTP/1's connections")
        rest.append((name, value))
    return pseudo, rest


def _checked(fields: list[Field]) -> list[Field]:
    for name, value in fields:
        if not (is_name(name) or name.startswith(b":")) or not is_value(value):
            raise MalformedError("a field that cannot be sent")
    return fields


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
