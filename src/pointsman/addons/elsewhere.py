"""Send a request where an addon wants it instead of where the app's connection goes.

The engine knows one origin for a connection, the one that the app dialled, and one way there.  A request with another
`server`, or with another proxy on its way, gets a connection of its own from here, HTTP/1.1, verified as every upstream
is, and the answer becomes the flow's response.  Everything has a bound: time, head, body.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import httptools

from pointsman.engine.fields import Headers
from pointsman.engine.flow_facts import ServerFacts, ServerSpec
from pointsman.engine.messages import HttpFlow, Response
from pointsman.engine.upstream import Tunnel
from pointsman.policy.upstreams import SCHEMES, Hop
from pointsman.wire.proxy_error import ProxyError

TIMEOUT = 60.0  # seconds, for all of it
LOOK_UP_TIMEOUT = 5.0  # seconds
BODY_LIMIT = 16 * 1024 * 1024  # bytes
HEAD_LIMIT = 256 * 1024  # bytes of header fields
CHUNK = 1 << 16  # bytes
_HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", b"content-length",
    b"expect", b"http2-settings",
}  # fmt: skip
ClientContext = Callable[[], ssl.SSLContext]


def needs_look_up(server: ServerFacts) -> bool:
    """An addon has named the host that is to be dialled."""
    if server.address is None:
        return False
    try:
        ip_address(server.address[0])
    except ValueError:
        return True
    return False


async def look_up(server: ServerFacts) -> None:
    """Put an address in the place of the name, or an error."""
    assert server.address is not None, "it has a name"
    host, port = server.address
    try:
        async with asyncio.timeout(LOOK_UP_TIMEOUT):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        server.address = (str(found[0][4][0]), port)
    except (OSError, TimeoutError, UnicodeError) as error:
        server.error = f"an addon wants it dialled to {host}: {str(error) or 'no answer'}"


class UnreachableError(Exception):
    """The other server gave no whole answer."""


async def send_elsewhere(flow: HttpFlow, client_context: ClientContext) -> None:
    """Set `flow.response` to what `flow.request.server` answers, or to a 502 that says why there is none."""
    try:
        async with asyncio.timeout(TIMEOUT):
            flow.response = await _exchange(flow, client_context)
    except (UnreachableError, ProxyError, OSError, EOFError, TimeoutError, httptools.HttpParserError) as error:
        text = str(error) or type(error).__name__
        host, port = _target(flow)
        through = f" through {flow.server_conn.via}" if wants_another_way(flow) else ""
        flow.response = Response.make(502, f"Pointsman: an addon sent this to {host}:{port}{through}: {text}\n")


async def _exchange(flow: HttpFlow, client_context: ClientContext) -> Response:
    request = flow.request
    if request.raw_content is None:
        raise UnreachableError("its body is streamed and cannot be sent to another server")
    target, via = _target(flow), _wanted_via(flow)
    forwards = via is not None and via.scheme in ("http", "https") and request.scheme == "http"
    reader, writer = await _opened(via.address if via is not None else target, via, client_context, request.scheme)
    try:
        if via is not None and not forwards:
            await _tunnel(reader, writer, via, target, client_context if request.scheme == "https" else None)
        writer.write(_written(flow, f"http://{request.authority}" if forwards else ""))
        await writer.drain()
        answer = _Answer(request.method == "HEAD")
        while not answer.done and (data := await reader.read(CHUNK)):
            answer.feed(data)
        return answer.response()
    finally:
        writer.close()
        with suppress(OSError, asyncio.TimeoutError):
            await writer.wait_closed()


def wants_another_way(flow: HttpFlow) -> bool:
    """An addon has set `flow.server_conn` or its `via`: not the connection that the app's is joined to."""
    server = flow.server_conn
    return flow.own_server is not None or server.via != server.dialled_via


def _wanted_via(flow: HttpFlow) -> ServerSpec | None:
    """Raises UnreachableError for what is no proxy, or speaks what nobody here does."""
    via = flow.server_conn.via if wants_another_way(flow) else None
    if via is None:
        return None
    scheme, (host, port) = via
    if scheme not in SCHEMES:
        raise UnreachableError(f"a proxy that speaks {scheme!r}; there are {', '.join(SCHEMES)}")
    return ServerSpec(scheme, (host, int(port)))


def _target(flow: HttpFlow) -> tuple[str, int]:
    request, own = flow.request, flow.own_server
    if request.server is not None or own is None or own.address is None or own.via is not None:
        return request.host, request.port  # a proxy looks names up itself
    return own.address


async def _opened(
    address: tuple[str, int], via: ServerSpec | None, client_context: ClientContext, scheme: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first that is dialled, in TLS if that one wants it."""
    tls = SCHEMES[via.scheme][1] if via is not None else scheme == "https"
    return await asyncio.open_connection(*address, ssl=client_context() if tls else None, limit=CHUNK)


async def _tunnel(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    via: ServerSpec,
    target: tuple[str, int],
    client_context: ClientContext | None,
) -> None:
    """Ask the proxy for the target, and go on in TLS with that."""
    speaks = {"https": "http", "socks5+tls": "socks5"}.get(via.scheme, via.scheme)  # what is in TLS is in it already
    tunnel = Tunnel((Hop(speaks, *via.address),), (_address(target[0]), target[1]), _never, {})
    writer.write(tunnel.start())
    while not tunnel.done:
        data = await reader.read(CHUNK)
        if not data:
            raise UnreachableError(str(tunnel.ended()))
        writer.write(tunnel.receive(data))
    if tunnel.leftover:
        raise UnreachableError("the proxy said more than that there is a connection")
    if client_context is not None:
        await writer.start_tls(client_context(), server_hostname=target[0])


def _never() -> ssl.SSLContext:
    raise UnreachableError("TLS with the proxy is made before")


def _address(host: str) -> str | IPv4Address | IPv6Address:
    try:
        return ip_address(host)
    except ValueError:
        return host


def _written(flow: HttpFlow, prefix: str) -> bytes:
    """`prefix`: of the request target."""
    request = flow.request
    body = request.raw_content or b""
    fields = [one for one in request.headers.fields if one[0].lower() not in _HOP_BY_HOP]
    if not any(name.lower() == b"host" for name, _ in fields):
        fields.insert(0, (b"Host", request.authority.encode()))
    if body or request.method in ("POST", "PUT", "PATCH"):
        fields.append((b"Content-Length", b"%d" % len(body)))
    fields.append((b"Connection", b"close"))
    for name, value in fields:
        if any(bad in name + value for bad in (b"\r", b"\n", b"\0")) or not name:
            raise UnreachableError("a header field that cannot be written")
    line = f"{request.method} {prefix}{request.path}".encode("utf-8", "surrogateescape")
    if any(bad in line for bad in (b"\r", b"\n")) or line.count(b" ") != 1:
        raise UnreachableError("a request line that cannot be written")
    return line + b" HTTP/1.1\r\n" + bytes(Headers(fields)) + b"\r\n" + body


class _Answer:
    """What `httptools` calls back."""

    def __init__(self, is_head: bool) -> None:
        self._is_head = is_head
        self._parser = httptools.HttpResponseParser(self)
        self._reason = ""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._body = bytearray()
        self._has_head = False
        self.done = False

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, UnreachableError):
                raise error.__context__ from None
            raise

    def on_status(self, reason: bytes) -> None:
        self._reason += reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > HEAD_LIMIT:
            raise UnreachableError(f"more than {HEAD_LIMIT} bytes of header fields")
        if not self._has_head:  # else a trailer, which is not passed on
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._has_head = True
        self.done = self._is_head

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > BODY_LIMIT:
            raise UnreachableError(f"a body of more than {BODY_LIMIT} bytes")

    def on_message_complete(self) -> None:
        if 100 <= self._parser.get_status_code() < 200:  # an interim one: the answer is still to come
            self._reason, self._fields, self._has_head = "", [], False
            self._body.clear()
        else:
            self.done = True

    def response(self) -> Response:
        """Raises UnreachableError if there is no whole one.  A body without a length ends with the connection."""
        framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._fields)
        if not self._has_head or (framed and not self.done):
            raise UnreachableError("the connection ended before the answer did")
        headers = Headers(one for one in self._fields if one[0].lower() not in _HOP_BY_HOP)
        body = b"" if self._is_head else bytes(self._body)
        if not self._is_head:
            headers["Content-Length"] = str(len(body))
        now = time.time()
        status = self._parser.get_status_code()
        return Response(status, self._reason, "HTTP/1.1", headers, body, None, now, now)
