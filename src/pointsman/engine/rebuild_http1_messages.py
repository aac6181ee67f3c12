"""Between HTTP/1 heads as they travel and messages as they may be changed.

It decides the framing fields of what is sent (Content-Length, Transfer-Encoding, Connection, Expect): whoever changes
messages need not, and cannot, get them wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from pointsman.engine.framing import lengths
from pointsman.engine.messages import Headers, HttpFlow, Request, Response
from pointsman.engine.rebuild import Context
from pointsman.wire.http1_heads import Facts, Field, RequestHead, ResponseHead, write_request, write_response
from pointsman.wire.http_head import host_of_authority

_host_of = lru_cache(maxsize=256)(host_of_authority)  # a connection asks for the same one again and again
_H2C = (b"upgrade", b"http2-settings")


@dataclass(slots=True)
class Persistence:
    """Whether the connection may carry another exchange."""

    request: bool = True
    response: bool = True
    response_begun: bool = False
    """The app has got a part of its answer."""

    @property
    def persists(self) -> bool:
        return self.request and self.response


def new_request(head: RequestHead, context: Context, now: float) -> tuple[Request, str | None]:
    """And the host it is for, lower case; None if it says none."""
    target, authority = _text(head.target), _text(head.facts.host or b"")
    scheme = context.scheme
    if head.method == b"CONNECT":
        authority = target
    elif "://" in target and not target.startswith("/"):
        scheme, _, rest = target.partition("://")
        authority = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
        if head.facts.host is not None:  # RFC 9112 3.2.2: the target is what counts
            head.fields = [(n, authority.encode()) if n.lower() == b"host" else (n, v) for n, v in head.fields]
    if head.facts.upgrade is not None and b"h2c" in head.facts.upgrade:
        _stay_with_http1(head)
    request = Request(
        method=head.method.decode("ascii"),
        scheme=scheme.lower(),
        authority=authority,
        path=target,
        http_version=f"HTTP/1.{head.minor}",
        headers=Headers(head.fields),
        raw_content=None,
        timestamp_start=context.wall(now),
    )
    return request, _host_of(authority) if authority else None


def new_response(head: ResponseHead, context: Context, now: float) -> Response:
    return Response(
        status_code=head.status,
        reason=_text(head.reason),
        http_version=f"HTTP/1.{head.minor}",
        headers=Headers(head.fields),
        raw_content=None,
        timestamp_start=context.wall(now),
    )


def request_bytes(request: Request, facts: Facts, *, whole: bool) -> tuple[bytes, bool]:
    """The head, and whether the body is to be chunked.  Raises HeadError."""
    minor = 0 if request.http_version == "HTTP/1.0" else 1
    fields = request.headers.fields
    hosts = [value for name, value in fields if len(name) == 4 and name.lower() == b"host"]
    if request.authority and request.method != "CONNECT" and hosts != [_raw(request.authority)]:
        request.headers.set_all("Host", [request.authority])
    if whole and "expect" in request.headers and not facts.expects_continue:
        del request.headers["expect"]
    chunked = minor == 1 and ((whole and request.trailers is not None) or (not whole and not lengths(request.headers)))
    fields = _framed(fields, chunked=chunked)
    return write_request(_raw(request.method), _raw(request.path), minor, fields), chunked


def response_bytes(flow: HttpFlow, persistence: Persistence, *, whole: bool, has_body: bool) -> tuple[bytes, bool]:
    """The head, and whether the body is to be chunked.  Raises HeadError.  May end the persistence."""
    request, response = flow.request, flow.response
    assert response is not None, "it is about to be sent"
    minor = 0 if response.http_version == "HTTP/1.0" else 1
    knows_chunks = minor == 1 and request.http_version != "HTTP/1.0"
    fields = response.headers.fields
    chunked = False
    if has_body:
        if whole:
            chunked = knows_chunks and response.trailers is not None
        elif not lengths(response.headers):
            chunked = knows_chunks
            persistence.response = persistence.response and chunked
        fields = _framed(fields, chunked=chunked)
    if not persistence.persists:
        fields = _closing(fields)
    reason = response.reason
    if not reason and response.status_code in HTTPStatus._value2member_map_ and request.http_version != "HTTP/1.1":
        reason = HTTPStatus(response.status_code).phrase
    return write_response(response.status_code, _raw(reason), minor, fields), chunked


def error_page(status: int, why: str) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    body = f"{status} {reason}: {why}\n".encode()
    fields = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Cache-Control", b"no-store"),
        (b"Connection", b"close"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    return write_response(status, reason.encode(), 1, fields) + body


def _framed(fields: list[Field], *, chunked: bool) -> list[Field]:
    """With the one framing field that is true.  A Content-Length that is left is right."""
    has_coding = False
    result: list[Field] = []
    for field in fields:
        size = len(field[0])
        if size == 17 and field[0].lower() == b"transfer-encoding":
            if chunked and not has_coding:
                has_coding = True
                result.append((field[0], b"chunked"))
        elif not (size == 14 and chunked and field[0].lower() == b"content-length"):
            result.append(field)
    if chunked and not has_coding:
        result.append((b"Transfer-Encoding", b"chunked"))
    return result


def _closing(fields: list[Field]) -> list[Field]:
    options = [value.lower() for name, value in fields if name.lower() == b"connection"]
    if any(b"close" in value for value in options):
        return fields
    return [field for field in fields if field[0].lower() not in (b"connection", b"keep-alive")] + [
        (b"Connection", b"close")
    ]


def _stay_with_http1(head: RequestHead) -> None:
    """HTTP/2 without TLS would begin in the middle of HTTP/1 (RFC 7540 3.2, withdrawn by RFC 9113): not asked for."""
    fields: list[Field] = []
    for name, value in head.fields:
        key = name.lower()
        if key == b"connection":
            kept = [one for one in value.split(b",") if one.strip().lower() not in _H2C]
            if not kept:
                continue
            value = b",".join(kept).strip()
        if key not in _H2C:
            fields.append((name, value))
    head.fields = fields
    head.facts.upgrade = None


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
