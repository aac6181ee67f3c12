"""Is this the start of an HTTP/1 request, and for which host?

Pure and incremental like `client_hello`.  It looks at the head only as far as the decision about the connection needs;
`engine.http1` reads messages.  HTTP/2 with prior knowledge (`PRI *`) and relatives such as RTSP are not HTTP/1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address

from pointsman.wire.client_hello import host_name

LIMIT = 64 * 1024  # bytes of one head
METHODS = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "PROPPATCH",
    "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "BIND", "REBIND", "UNBIND", "ACL", "REPORT",
    "MKACTIVITY", "CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "PURGE", "MKCALENDAR",
    "LINK", "UNLINK", "SOURCE", "QUERY",
)  # fmt: skip
_STARTS = tuple(f"{method} ".encode() for method in METHODS)
_LONGEST = max(len(start) for start in _STARTS)
_REQUEST_LINE = re.compile(rb"([A-Z-]+) ([^\s\x00-\x20\x7f]+) HTTP/1\.[01]\r?\n?\Z")
_END = re.compile(rb"\r?\n\r?\n")
_HOST = re.compile(rb"^host:[ \t]*(.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE)


class NoHead(Enum):
    NEED_DATA = "need data"
    """Nothing speaks against HTTP, too little for it."""
    NEED_HEAD = "need the rest of the head"
    """A method of HTTP is here: only an HTTP client begins like this."""
    NOT_HTTP = "not HTTP"


@dataclass(frozen=True, slots=True)
class HttpHead:
    method: str
    target: str
    host: str | None
    """Of the request target if it is absolute, else of the Host field; lower case, without port."""

    @property
    def path(self) -> str:
        """Of the request target, without query: `/a` of `/a?b` and of `http://host/a?b`; `*` and authorities as is."""
        target = self.target
        if "://" in target and not target.startswith("/"):
            target = "/" + target.partition("://")[2].partition("/")[2]
        return target.partition("?")[0].partition("#")[0]


def parse_http_head(data: bytes | bytearray) -> HttpHead | NoHead:
    start = bytes(data[:_LONGEST])
    if not start.startswith(_STARTS):
        may_become = any(method.startswith(start) for method in _STARTS)
        return NoHead.NEED_DATA if may_become else NoHead.NOT_HTTP
    line_end = data.find(b"\n", 0, LIMIT)
    if line_end < 0:
        return NoHead.NEED_HEAD if len(data) < LIMIT else NoHead.NOT_HTTP
    line = _REQUEST_LINE.match(bytes(data[: line_end + 1]))
    if line is None:
        return NoHead.NOT_HTTP
    end = _END.search(data, line_end - 1, LIMIT)
    if end is None:
        return NoHead.NEED_HEAD if len(data) < LIMIT else NoHead.NOT_HTTP
    fields = bytes(data[line_end + 1 : end.end()]).replace(b"\r", b"")
    target = line[2].decode("latin-1")
    return HttpHead(line[1].decode("ascii"), target, _host(line[1], target, fields))


def _host(method: bytes, target: str, fields: bytes) -> str | None:
    if method == b"CONNECT":
        return host_of_authority(target)
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
        return host_of_authority(authority)
    found = _HOST.search(fields)
    return host_of_authority(found[1].decode("latin-1")) if found else None


def host_of_authority(authority: str) -> str | None:
    """The host of `host:port`, lower case; None if it is neither a name nor an address."""
    if authority.startswith("["):
        try:
            return str(IPv6Address(authority[1:].partition("]")[0]))
        except ValueError:
            return None
    host = authority.partition(":")[0].lower()
    if re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", host):
        return host
    return host_name(host)


# Heads that need no judge (`engine.http1`): every field line is a token, a colon and visible text, so no two readers
# can differ about where the head ends; and the words below, which could say that the framing is another, are absent.
_FIELDS = rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+\r\n"
_PLAIN_GET = re.compile(rb"GET ([\x21-\x7e]+) HTTP/1\.1\r\n" + _FIELDS)
_PLAIN_RESPONSE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) [\t\x20-\x7e\x80-\xff]*\r\n" + _FIELDS)
_LENGTH = b"\r\ncontent-length:"
_HOST_FIELD = b"\r\nhost:"
_LONGEST_LENGTH = 15  # digits


def plain_get(data: bytes) -> tuple[bytes, bytes] | None:
    """Target and Host field, if `data` is exactly one GET without a body and without any doubt; else None."""
    if not data.startswith(b"GET /"):
        return None
    match = _PLAIN_GET.fullmatch(data)
    if match is None:
        return None
    lower = data.lower()
    if b"content-length" in lower or _is_special(lower):
        return None
    at = lower.find(_HOST_FIELD)
    if at < 0 or lower.find(_HOST_FIELD, at + 1) >= 0:
        return None
    at += len(_HOST_FIELD)
    return match[1], data[at : data.index(b"\r\n", at)].strip()


def plain_response(data: bytes) -> tuple[int, int, int] | None:
    """Status, size of the head and length of the body, if `data` begins with a response that has a Content-Length and
    nothing that could frame it otherwise; else None.  The caller knows that it answers a GET."""
    match = _PLAIN_RESPONSE.match(data)
    if match is None or match[1] in (b"204", b"304"):
        return None
    lower = match[0].lower()
    at = lower.find(_LENGTH)
    if at < 0 or lower.find(_LENGTH, at + 1) >= 0 or _is_special(lower):
        return None
    at += len(_LENGTH)
    length = lower[at : lower.index(b"\r\n", at)].strip(b" \t")
    if not length.isdigit() or len(length) > _LONGEST_LENGTH:
        return None
    return int(match[1]), match.end(), int(length)


def _is_special(lower: bytes) -> bool:
    return b"transfer-encoding" in lower or b"upgrade" in lower or b"close" in lower
