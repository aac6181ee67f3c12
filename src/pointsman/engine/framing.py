"""The fields of a message that say how long its body is, and what they must not say of one that has been changed."""

from __future__ import annotations

from pointsman.engine.messages import Field, Headers, Request, Response

ENDLESS_TYPES = ("text/event-stream", "application/grpc", "multipart/x-mixed-replace")
"""Bodies whose parts are waited for one by one; gathering them would stop what they are for."""
_ENDLESS_BYTES = tuple(kind.encode() for kind in ENDLESS_TYPES)
_TELLING = (b"host", b"expect", b"content-length", b"transfer-encoding")
_TELLING_SIZES = frozenset(map(len, _TELLING))
_LENGTH_NAME = b"content-length"


def carries_body(method: str, status: int) -> bool:
    """Whether a final response with this status has one, in answer to this method (RFC 9112 6.3)."""
    return method != "HEAD" and status not in (204, 304)


def lengths(headers: Headers) -> list[str]:
    """As `get_all("content-length")`; every message is asked, so most names are told apart by their size."""
    return [
        value.decode("latin-1") for name, value in headers.fields if len(name) == 14 and name.lower() == _LENGTH_NAME
    ]


def is_coded(headers: Headers) -> bool:
    return any(len(name) == 17 and name.lower() == b"transfer-encoding" for name, _ in headers.fields)


def is_endless(headers: Headers) -> bool:
    block = headers.block
    if block is not None:  # most are not, and then nobody has to take them apart
        lowered = block.lower()
        for kind in _ENDLESS_BYTES:
            if kind in lowered:
                break
        else:
            return False
    kinds = headers.get_all("content-type")
    return bool(kinds) and kinds[0].lower().startswith(ENDLESS_TYPES)


def set_length(message: Request | Response, length: int) -> None:
    if is_coded(message.headers):
        del message.headers["transfer-encoding"]
    restore_length(message.headers, [str(length)])


def frame_whole(response: Response, method: str, announced: list[str], asked: int) -> None:
    """Of a response that is sent in one piece, to an app that asked with `method`.

    `announced`: the lengths that its head came with, `asked` the status that it came with.
    """
    size = len(response.raw_content or b"")
    if carries_body(method, response.status_code):
        if size or announced or response.status_code != asked or is_coded(response.headers):
            set_length(response, size)
    elif response.status_code == 204 and asked != 204:  # RFC 9110 8.6, RFC 9112 6.1: it has neither
        response.headers.pop("transfer-encoding", None)
        restore_length(response.headers, [])
    elif size:
        set_length(response, size)
    else:  # what is not here, for HEAD and 304
        restore_length(response.headers, announced)


def restore_length(headers: Headers, wanted: list[str]) -> None:
    if lengths(headers) != wanted:
        headers.set_all("Content-Length", wanted)


def tells(fields: list[Field]) -> bool:
    """Whether one of them says for whom a message is or where it ends."""
    for name, _ in fields:  # noqa: SIM110 - for each message, and a generator takes twice as long
        if len(name) in _TELLING_SIZES and name.lower() in _TELLING:
            return True
    return False
