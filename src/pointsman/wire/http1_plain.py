"""Read the plainest HTTP/1.1 messages in one step: those whose bytes can be passed on as they came.

Pure.  A message is plain if `http1_heads` would accept it and write the very same bytes again, and if its end cannot be
doubted: a request without a body, a response with one Content-Length that is all here.  Anything else is None, which
says nothing about it: `http1_heads` has the last word.
"""

from __future__ import annotations

import re

from pointsman.wire.http1_heads import FIELDS_LIMIT, HEAD_LIMIT, HOST_TEXT, TEXT_BYTES, TOKEN

_FIELDS = rb"(?:" + TOKEN + rb"+: (?![ \t])" + TEXT_BYTES + rb"*+(?<![ \t])\r\n)*+"
_TARGET = rb"/[\x21-\x7e\x80-\xff]*+"
_LINE = re.compile(rb"(" + TOKEN + rb"+) (" + _TARGET + rb")")
_REQUEST = re.compile(rb"(" + TOKEN + rb"+) (" + _TARGET + rb")( HTTP/1\.1\r\n(" + _FIELDS + rb")\r\n)")
_RESPONSE = re.compile(rb"HTTP/1\.1 ([2-9][0-9][0-9]) (" + TEXT_BYTES + rb"*+)\r\n(" + _FIELDS + rb")\r\n")
_TELLING = re.compile(rb"\n(content-length|transfer-encoding|connection|host|upgrade|expect): ([^\r]*)", re.IGNORECASE)
"""The line before each field ends with the LF: a literal that the search can leap to."""
_HOST = re.compile(HOST_TEXT)
_LENGTH = re.compile(rb"[1-9][0-9]{0,17}")
_SHORTEST_FIELD = len(b"a: b\r\n")

PlainRequest = tuple[bytes, bytes, bytes, bytes]
"""Method, target, Host and all fields, each with its CRLF."""
PlainResponse = tuple[int, bytes, bytes, int]
"""Status, reason, all fields, and where the body begins."""


class RequestReader:
    """Of one connection: most requests repeat the fields of the one before, so those are read once."""

    __slots__ = ("_fields", "_host", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._fields = b""
        self._host = b""

    def read(self, data: bytes) -> PlainRequest | None:
        """If `data` is exactly one."""
        rest = self._rest
        if rest and data.endswith(rest) and len(data) <= HEAD_LIMIT:
            line = _LINE.fullmatch(data, 0, len(data) - len(rest))
            return (line[1], line[2], self._host, self._fields) if line is not None else None
        found = _REQUEST.fullmatch(data)
        if found is None or len(data) > HEAD_LIMIT:
            return None
        method, target, rest, fields = found.groups()
        host = _host_of(found, 4)
        if host is None:
            return None
        self._rest, self._fields, self._host = rest, fields, host
        return method, target, host, fields


def read_response(data: bytes) -> PlainResponse | None:
    """If `data` is exactly one with a body, after which the connection is kept."""
    found = _RESPONSE.match(data)
    if found is None:
        return None
    begin = found.end()
    status, reason, fields = found.groups()
    length = _length_of(found, 3)
    if length is None or len(data) != begin + length or begin > HEAD_LIMIT or status in (b"204", b"304"):
        return None
    return int(status), reason, fields, begin


def _host_of(found: re.Match[bytes], group: int) -> bytes | None:
    """None if there is none, or if any field tells of a body or of what follows."""
    host = None
    for name, value in _telling(found, group):
        key = name.lower()
        if key == b"host" and host is None and _HOST.fullmatch(value) is not None:
            host = value
        elif key != b"connection" or value.lower() != b"keep-alive":
            return None
    return host


def _length_of(found: re.Match[bytes], group: int) -> int | None:
    length = None
    for name, value in _telling(found, group):
        key = name.lower()
        if key == b"content-length" and length is None and _LENGTH.fullmatch(value) is not None:
            length = int(value)
        elif key != b"connection" or value.lower() != b"keep-alive":
            return None
    return length


def _telling(found: re.Match[bytes], group: int) -> list[tuple[bytes, bytes]]:
    """Fields that decide where a message ends, for whom it is, or what follows it."""
    begin, end = found.span(group)
    if end - begin > FIELDS_LIMIT * _SHORTEST_FIELD and found.string.count(b"\r\n", begin, end) > FIELDS_LIMIT:
        return [(b"", b"")]
    return _TELLING.findall(found.string, begin - 1, end)
