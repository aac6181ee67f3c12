"""Is this the start of an HTTP/1 request, and for which host?

Pure and incremental like `client_hello`.  It looks at the head only as far as the decision about the connection needs;
`engine.http1` reads messages.  HTTP/2 (`PRI *`) and relatives such as RTSP are not HTTP/1.
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
