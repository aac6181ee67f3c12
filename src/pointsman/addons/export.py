"""A flow as something else: the bytes of its messages, or a command that asks the same again."""

from __future__ import annotations

import shlex
from typing import TypeVar

from pointsman.addons.context import CommandError
from pointsman.engine.fields import Headers
from pointsman.engine.framing import is_coded, set_length
from pointsman.engine.messages import HttpFlow, Request, Response

_Message = TypeVar("_Message", Request, Response)


def request_head(request: Request) -> bytes:
    """Start line and fields as HTTP/1.1 has them, with the empty line."""
    line = f"{request.method} {request.path} {_version(request)}\r\n".encode("utf-8", "surrogateescape")
    headers = request.headers
    if "host" not in headers and request.authority:
        headers = headers.copy()
        headers.insert(0, "Host", request.authority)
    return line + bytes(headers) + b"\r\n"


def response_head(response: Response) -> bytes:
    line = f"{_version(response)} {response.status_code} {response.reason}\r\n"
    return line.encode("utf-8", "surrogateescape") + bytes(response.headers) + b"\r\n"


def request_bytes(request: Request) -> bytes:
    """Raises CommandError if its body is not here."""
    return request_head(_framed(request)) + _body(request)


def response_bytes(response: Response) -> bytes:
    """As `request_bytes`."""
    return response_head(_framed(response)) + _body(response)


def raw_request(flow: HttpFlow) -> bytes:
    return request_bytes(flow.request)


def raw_response(flow: HttpFlow) -> bytes:
    """Raises CommandError if there is none."""
    if flow.response is None:
        raise CommandError("this flow has no response")
    return response_bytes(flow.response)


def raw(flow: HttpFlow, separator: bytes = b"\r\n\r\n") -> bytes:
    """Both, as far as they are here."""
    answered = flow.response is not None and flow.response.raw_content is not None
    return separator.join([raw_request(flow), *([raw_response(flow)] if answered else [])])


def curl_command(flow: HttpFlow) -> str:
    """For a shell.  Raises CommandError if the body is not here or is no text."""
    request = flow.request
    arguments = ["curl"]
    for name, value in request.headers.items(multi=True):
        if name.lower() == "accept-encoding":
            arguments.append("--compressed")
        elif name.lower() != "content-length":
            arguments += ["-H", f"{name}: {value}"]
    body = _body(request)
    if request.method != ("POST" if body else "GET"):
        arguments += ["-X", request.method]
    arguments.append(request.pretty_url)
    if body:
        try:
            arguments += ["-d", (request.content or b"").decode()]
        except ValueError:
            raise CommandError("the body of the request is no text") from None
    return shlex.join(arguments)


def _version(message: Request | Response) -> str:
    return message.http_version if message.http_version.startswith("HTTP/1") else "HTTP/1.1"


def _body(message: Request | Response) -> bytes:
    if message.raw_content is None:
        raise CommandError("the body was streamed and is not here")
    return message.raw_content


def _framed(message: _Message) -> _Message:
    """With the length of its body: what was in chunks is not any more."""
    if not is_coded(message.headers) and (not message.raw_content or "content-length" in message.headers):
        return message
    copied = message.copy()
    copied.headers = Headers(message.headers.fields)
    set_length(copied, len(_body(message)))
    return copied
