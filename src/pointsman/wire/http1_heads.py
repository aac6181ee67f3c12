"""Read and write the heads of HTTP/1 messages, strictly (RFC 9110 5, 9112 2 to 6).

Pure.  Where two readers of the same bytes could come to different answers (which field counts, where the body ends) the
answer here is an error, never a guess: that is what request smuggling lives from.  So: CRLF alone ends a line, no
folding, no space before a colon, one Content-Length or one `chunked` but not both, one Host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

HEAD_LIMIT = 64 * 1024  # bytes of one head
FIELDS_LIMIT = 500  # fields of one head
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TEXT_BYTES = rb"[\t \x21-\x7e\x80-\xff]"
HOST_TEXT = rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*"
_TOKEN = TOKEN + rb"+"
_TEXT = TEXT_BYTES + rb"*"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: (" + _TEXT + rb"))?")
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":" + _TEXT + rb"\r\n)*+")
_SPLIT = re.compile(rb"([^:\r\n]+):[ \t]*([^\r\n]*)\r\n")
_NAME = re.compile(_TOKEN)
_VALUE = re.compile(_TEXT)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(HOST_TEXT)
# Fields that decide where a message ends, for whom it is, or what follows it.
_TELLING = {b"content-length", b"transfer-encoding", b"connection", b"host", b"upgrade", b"expect", b"proxy-connection"}
_TELLING_SIZES = frozenset(map(len, _TELLING))  # most fields are told apart by length alone

Field = tuple[bytes, bytes]


class HeadError(ValueError):
    """Not HTTP/1 as the RFCs allow it."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status
        """What a server would answer to a request like this."""


@dataclass(slots=True)
class Facts:
    """What the fields of a head say about the message and the connection."""

    length: int | None = None
    chunked: bool = False
    options: frozenset[bytes] = frozenset()
    """Of Connection, lower case."""
    host: bytes | None = None
    upgrade: bytes | None = None
    expects_continue: bool = False

    def persists(self, minor: int) -> bool:
        """RFC 9112 9.3."""
        return b"close" not in self.options and (minor == 1 or b"keep-alive" in self.options)


@dataclass(slots=True)
class RequestHead:
    method: bytes
    target: bytes
    minor: int
    """Of the version HTTP/1.x."""
    fields: list[Field]
    facts: Facts


@dataclass(slots=True)
class ResponseHead:
    status: int
    reason: bytes
    minor: int
    fields: list[Field]
    facts: Facts

    def has_body(self, method: str) -> bool:
        """In answer to a request with this method (RFC 9112 6.3); 1xx are asked elsewhere."""
        return method != "HEAD" and self.status not in (204, 304)


def take_head(buffer: bytearray) -> bytes | None:
    """Cut the next head with its empty line off; None: it is not whole.  Raises HeadError (431) if it is too large."""
    end = buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT)
    if end < 0:
        if len(buffer) >= HEAD_LIMIT:
            raise HeadError(f"a head of more than {HEAD_LIMIT} bytes", 431)
        return None
    head = bytes(memoryview(buffer)[: end + 4])
    del buffer[: end + 4]
    return head


def parse_request(head: bytes) -> RequestHead:
    """`head` ends with its empty line.  Raises HeadError."""
    line, _, block = head.partition(b"\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise _bad_request_line(line)
    fields = parse_fields(block)
    method, target, minor = found[1], found[2], int(found[3])
    facts = facts_of(fields, minor)
    if minor == 1 and facts.host is None:
        raise HeadError("HTTP/1.1 without Host")
    if not _target_fits(method, target):
        raise HeadError("a request target that does not fit its method")
    return RequestHead(method, target, minor, fields, facts)


def parse_response(head: bytes) -> ResponseHead:
    """As `parse_request`."""
    line, _, block = head.partition(b"\r\n")
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise HeadError("no status line of HTTP/1")
    fields = parse_fields(block)
    minor = int(found[1])
    facts = facts_of(fields, minor)
    return ResponseHead(int(found[2]), found[3] or b"", minor, fields, facts)


def parse_fields(block: bytes) -> list[Field]:
    """Fields, each with its CRLF, and the empty line.  Raises HeadError."""
    found = _FIELDS.match(block)
    if found is None or found.end() != len(block) - 2 or not block.endswith(b"\r\n"):
        raise HeadError("a header field that is none: folding, a space before the colon, a control character")
    if found.end() == 0:
        return []
    fields: list[Field] = _SPLIT.findall(block)
    if b" \r\n" in block or b"\t\r\n" in block:
        fields = [(name, value.rstrip(b" \t")) for name, value in fields]
    if len(fields) > FIELDS_LIMIT:
        raise HeadError(f"more than {FIELDS_LIMIT} fields", 431)
    return fields


def facts_of(fields: Iterable[Field], minor: int) -> Facts:
    """Raises HeadError if they contradict each other."""
    facts = Facts()
    for name, value in fields:
        if len(name) not in _TELLING_SIZES:
            continue
        key = name.lower()
        if key == b"content-length":
            if facts.length is not None or _LENGTH.fullmatch(value) is None:
                raise HeadError("Content-Length twice, or no number")
            facts.length = int(value)
        elif key == b"transfer-encoding":
            _transfer_encoding(facts, value, minor)
        elif key == b"host":
            if facts.host is not None or _HOST.fullmatch(value) is None:
                raise HeadError("Host twice, or none")
            facts.host = value
        elif key == b"connection":
            facts.options |= frozenset(option.strip().lower() for option in value.split(b","))
        elif key == b"upgrade":
            facts.upgrade = value.lower()
        elif key == b"expect":
            facts.expects_continue = minor == 1 and value.lower() == b"100-continue"
    if facts.chunked and facts.length is not None:
        raise HeadError("both Content-Length and Transfer-Encoding")
    return facts


def write_request(method: bytes, target: bytes, minor: int, fields: Iterable[Field]) -> bytes:
    """Raises HeadError for what would not be one head (a CR or LF in a value, say)."""
    head = b"%b %b HTTP/1.%d" % (method, target, minor)
    if _REQUEST_LINE.fullmatch(head) is None:
        raise HeadError("no request line can be made of this method and target")
    return head + b"\r\n" + write_fields(fields)


def write_response(status: int, reason: bytes, minor: int, fields: Iterable[Field]) -> bytes:
    """As `write_request`."""
    line = b"HTTP/1.%d %d %b" % (minor, status, reason)
    if _STATUS_LINE.fullmatch(line) is None:
        raise HeadError("no status line can be made of this status and reason")
    return line + b"\r\n" + write_fields(fields)


def write_fields(fields: Iterable[Field]) -> bytes:
    """With the empty line at the end.  Raises HeadError."""
    block = b"\r\n".join([*map(b": ".join, fields), b""])
    if _FIELDS.fullmatch(block) is None:
        raise HeadError("a field that cannot be sent")
    return block + b"\r\n"


def is_name(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None


def is_value(value: bytes) -> bool:
    return _VALUE.fullmatch(value) is not None


def is_host(value: bytes) -> bool:
    """Of a Host field, with a port or without; a user has no place in it."""
    return _HOST.fullmatch(value) is not None


def _transfer_encoding(facts: Facts, value: bytes, minor: int) -> None:
    if facts.chunked or minor == 0:
        raise HeadError("Transfer-Encoding twice, or in HTTP/1.0")
    if value.lower() != b"chunked":
        raise HeadError("a transfer coding other than chunked", 501)
    facts.chunked = True


def _target_fits(method: bytes, target: bytes) -> bool:
    """RFC 9112 3.2: origin, absolute, authority and asterisk form."""
    if method == b"CONNECT":
        return _HOST.fullmatch(target) is not None and b":" in target
    return target.startswith(b"/") or b"://" in target or target == b"*"


def _bad_request_line(line: bytes) -> HeadError:
    if re.fullmatch(rb".* HTTP/[0-9]\.[0-9]", line, re.DOTALL) and not line.endswith((b"HTTP/1.0", b"HTTP/1.1")):
        return HeadError("a version other than HTTP/1", 505)
    return HeadError("no request line")
