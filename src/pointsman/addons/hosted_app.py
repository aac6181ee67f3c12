"""A web application that answers for a host from inside the proxy: WSGI in a thread of its own, ASGI as a coroutine.

The origin is not asked; the connection to it is there all the same, since the app dialled it.  What the application
answers is bounded like every body that an addon makes.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from pointsman.addons.listener import concurrent
from pointsman.engine.messages import HttpFlow, Response

BODY_LIMIT = 16 * 1024 * 1024  # bytes of an answer
_log = logging.getLogger(__name__)
StartResponse = Callable[..., Callable[[bytes], object]]
WsgiApplication = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]


class TooLongError(Exception):
    """The application answers with more than BODY_LIMIT bytes."""


class _Hosted:
    """Where an application answers."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    @property
    def name(self) -> str:
        return f"{type(self).__name__.lower()}:{self.host}:{self.port}"

    def should_serve(self, flow: HttpFlow) -> bool:
        asked = flow.request.pretty_host, flow.request.port
        return asked == (self.host, self.port) and flow.response is None and not flow.error and flow.live


class WSGIApp(_Hosted):
    def __init__(self, wsgi_app: WsgiApplication, host: str, port: int) -> None:
        super().__init__(host, port)
        self._app = wsgi_app

    @concurrent
    def request(self, flow: HttpFlow) -> None:
        if self.should_serve(flow):
            flow.response = answered(self._app, flow)


class ASGIApp(_Hosted):
    def __init__(self, asgi_app: AsgiApplication, host: str, port: int) -> None:
        super().__init__(host, port)
        self._app = asgi_app

    async def request(self, flow: HttpFlow) -> None:
        if not self.should_serve(flow):
            return
        answer = _AsgiAnswer(flow)
        try:
            await self._app(_scope(flow), answer.receive, answer.send)
            flow.response = answer.response()
        except Exception as error:
            flow.response = _failed(self.name, error)


def answered(app: WsgiApplication, flow: HttpFlow) -> Response:
    """What it says to this request; 500 if it fails (PEP 3333)."""
    head: list[tuple[str, list[tuple[str, str]]]] = []
    body = bytearray()

    def write(data: bytes) -> None:
        body.extend(data)
        if len(body) > BODY_LIMIT:
            raise TooLongError(f"more than {BODY_LIMIT} bytes")

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        del exc_info  # nothing has gone out before the end
        head[:] = [(status, list(headers))]
        return write

    try:
        parts = app(_environment(flow), start_response)
        try:
            for part in parts:
                write(part)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        if not head:
            raise ValueError("it did not call start_response")
        status, fields = head[0]
        code, _, reason = status.partition(" ")
        return Response.make(int(code), bytes(body), fields, reason)
    except Exception as error:
        return _failed("WSGI", error)


def _failed(name: str, error: Exception) -> Response:
    _log.error("the application %s failed: %s: %s", name, type(error).__name__, error, exc_info=error)
    return Response.make(500, "the application failed; the proxy's log says why\n", {"Content-Type": "text/plain"})


def _environment(flow: HttpFlow) -> dict[str, Any]:
    request = flow.request
    path, _, query = request.path.partition("?")
    content = request.content or b""
    environment: dict[str, Any] = {
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": "", "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query, "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(content)), "SERVER_NAME": request.pretty_host, "SERVER_PORT": str(request.port),
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": (flow.client_conn.peername or ("127.0.0.1", 0))[0],
        "wsgi.version": (1, 0), "wsgi.url_scheme": request.scheme, "wsgi.input": io.BytesIO(content),
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
    }  # fmt: skip
    for name, value in request.headers.items():
        key = "HTTP_" + name.upper().replace("-", "_")
        if key not in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
            environment[key] = value
    return environment


def _scope(flow: HttpFlow) -> MutableMapping[str, Any]:
    """Of ASGI 3 for HTTP."""
    request = flow.request
    path, _, query = request.path.partition("?")
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.1"}, "method": request.method,
        "http_version": "2" if request.is_http2 else request.http_version.removeprefix("HTTP/"),
        "scheme": request.scheme, "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path.encode("utf-8", "surrogateescape"), "query_string": query.encode("utf-8", "surrogateescape"),
        "root_path": "", "headers": [(name.lower(), value) for name, value in request.headers.fields],
        "client": flow.client_conn.peername, "server": (request.pretty_host, request.port), "extensions": {},
    }  # fmt: skip


class _AsgiAnswer:
    def __init__(self, flow: HttpFlow) -> None:
        self._content = flow.request.content or b""
        self._was_read = False
        self._status = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._body = bytearray()

    async def receive(self) -> dict[str, Any]:
        if self._was_read:
            return {"type": "http.disconnect"}
        self._was_read = True
        return {"type": "http.request", "body": self._content, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Raises TooLongError."""
        if message["type"] == "http.response.start":
            self._status, self._fields = int(message["status"]), list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if len(self._body) > BODY_LIMIT:
                raise TooLongError(f"more than {BODY_LIMIT} bytes")

    def response(self) -> Response:
        """Raises ValueError if there is none."""
        if not self._status:
            raise ValueError("it did not answer")
        return Response.make(self._status, bytes(self._body), self._fields)
