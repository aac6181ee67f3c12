"""HTTP CONNECT as a client says and hears it (RFC 9110 9.3.6, RFC 7617).

Pure and incremental.  The answer's head is bounded; 1xx answers before it are passed over, as RFC 9110 15.2 wants; and
every byte after a 2xx head belongs to the tunnel, whatever Content-Length claims.
"""

from __future__ import annotations

import re
from base64 import b64encode
from ipaddress import IPv6Address

from pointsman.wire.proxy_error import ProxyError
from pointsman.wire.socks5 import Target

HEAD_LIMIT = 16 * 1024  # bytes, with 1xx answers
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: ([^\r\n]*))?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_PREFIX = b"HTTP/1."
_ASKED_SCHEME = re.compile(rb"^(?:proxy-authenticate):[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]{1,40})", re.I | re.M)
_FAULTS_OF_THE_PROXY = {400, 401, 405, 407, 426, 501, 505}
"""It cannot, or will not with these credentials, do it for anybody; what else it says is about the target."""
_WORDS = {
    400: "bad request", 401: "unauthorized", 403: "forbidden", 404: "not found", 405: "CONNECT not allowed",
    407: "proxy authentication required", 429: "too many requests", 500: "internal error", 501: "not implemented",
    502: "bad gateway", 503: "service unavailable", 504: "gateway timeout",
}  # fmt: skip


def connect_request(target: Target, port: int, credentials: tuple[str, str] | None) -> bytes:
    """`credentials`: user and password, sent as Basic."""
    authority = f"[{target}]:{port}" if isinstance(target, IPv6Address) else f"{target}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if credentials is not None:
        token = b64encode(f"{credentials[0]}:{credentials[1]}".encode()).decode("ascii")
        lines.append(f"Proxy-Authorization: Basic {token}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def parse_response(data: bytes) -> int | None:
    """The number of bytes of the head, if there is a tunnel now; None while bytes are missing.  Raises ProxyError."""
    at = 0
    while True:
        if not (data[at : at + len(_PREFIX)] == _PREFIX or _PREFIX.startswith(data[at:])):
            raise ProxyError("its answer is no HTTP/1")
        end = _END.search(data, at)
        if end is None or end.end() > HEAD_LIMIT:
            if len(data) >= HEAD_LIMIT:
                raise ProxyError(f"the head of its answer is longer than {HEAD_LIMIT} bytes")
            return None
        status_line = _STATUS.match(data, at)
        if status_line is None:
            raise ProxyError("its answer is no HTTP/1")
        status = int(status_line[1])
        if status == 101:
            raise ProxyError("HTTP 101 in answer to CONNECT")
        if status < 200:
            at = end.end()
            continue
        if status < 300:
            return end.end()
        raise _refused(status, data[at : end.end()])


def _refused(status: int, head: bytes) -> ProxyError:
    words = _WORDS.get(status, "refused")
    if status == 407 and (asked := _ASKED_SCHEME.search(head)):
        words += f", by {asked[1].decode('ascii')}"
    return ProxyError(f"{words} (HTTP {status})", about_target=status not in _FAULTS_OF_THE_PROXY)
