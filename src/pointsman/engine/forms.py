"""What is written inside a URL, a header or a body as names and values: queries, cookies, forms.

Pure reading and writing; nothing here raises for what a peer sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode

Pair = tuple[str, str]
MULTIPART_LIMIT = 1000  # parts; the rest is not read
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;]{1,200}))', re.IGNORECASE)
_PART_NAME = re.compile(rb'(?:^|[;\s])name\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))', re.IGNORECASE)


def read_query(path: str) -> list[Pair]:
    """Of a request target; what has no `=` has an empty value."""
    query = path.partition("#")[0].partition("?")[2]
    return parse_qsl(query, keep_blank_values=True, errors="surrogateescape", max_num_fields=None)


def with_query(path: str, pairs: Iterable[Pair]) -> str:
    base = path.partition("?")[0]
    written = write_urlencoded(pairs)
    return f"{base}?{written}" if written else base


def read_urlencoded(body: str) -> list[Pair]:
    return parse_qsl(body, keep_blank_values=True, errors="surrogateescape", max_num_fields=None)


def write_urlencoded(pairs: Iterable[Pair]) -> str:
    return urlencode(list(pairs), errors="surrogateescape")


def read_cookies(headers: Iterable[str]) -> list[Pair]:
    """Of Cookie headers (RFC 6265 4.2)."""
    pairs = []
    for header in headers:
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name:
                pairs.append((name, value))
    return pairs


def write_cookies(pairs: Iterable[Pair]) -> str:
    return "; ".join(f"{name}={value}" if value else name for name, value in pairs)


def read_set_cookie(header: str) -> tuple[str, str, list[tuple[str, str | None]]]:
    """Name, value and attributes in their order; an attribute without `=` has None (RFC 6265 4.1)."""
    first, *rest = header.split(";")
    name, _, value = first.strip().partition("=")
    attributes: list[tuple[str, str | None]] = []
    for part in rest:
        key, separator, said = part.strip().partition("=")
        if key:
            attributes.append((key, said if separator else None))
    return name, value, attributes


def write_set_cookie(name: str, value: str, attributes: Iterable[tuple[str, str | None]]) -> str:
    rest = (key if said is None else f"{key}={said}" for key, said in attributes)
    return "; ".join([f"{name}={value}", *rest])


def boundary_of(content_type: str) -> bytes | None:
    if not content_type.strip().lower().startswith("multipart/form-data"):
        return None
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]).encode() if found else None


def read_multipart(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Names and contents (RFC 7578); a part that has no name is left out."""
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary, MULTIPART_LIMIT + 1)[1:]
    pairs = []
    for part in parts:
        if part.startswith(b"--"):
            break
        head, separator, content = part.partition(b"\r\n\r\n")
        name = _PART_NAME.search(head)
        if separator and name:
            pairs.append((name[1] if name[1] is not None else name[2], content))
    return pairs


def write_multipart(pairs: Iterable[tuple[bytes, bytes]], boundary: bytes) -> bytes:
    """Every part as a plain field: names of files and types of parts are not among pairs."""
    parts = (
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, _quoted(name), content)
        for name, content in pairs
    )
    return b"".join(parts) + b"--%s--\r\n" % boundary


def _quoted(name: bytes) -> bytes:
    """As browsers do (HTML, multipart/form-data encoding algorithm)."""
    return name.replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A")
