"""A request as it may be changed on its way.

The fields are what the engine goes by; properties and methods are conveniences under the names that people who write
addons know.  Where it goes is the app's choice unless `host`, `port` or `url` are set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass

from pointsman.engine.authority import DEFAULT_PORTS, joined_authority, split_authority, split_url
from pointsman.engine.fields import FieldsView, Headers, pairs_of
from pointsman.engine.forms import (
    boundary_of,
    read_cookies,
    read_multipart,
    read_query,
    read_urlencoded,
    with_query,
    write_cookies,
    write_multipart,
    write_urlencoded,
)
from pointsman.engine.message_body import Message, Transform, made_bytes, made_headers

MADE_BOUNDARY = b"----pointsman-form-boundary"
TextPairs = Iterable[tuple[str, str]]


@dataclass(slots=True, repr=False)
class Request(Message):
    method: str
    scheme: str
    """http or https."""
    authority: str
    """As in Host or :authority, with the port if it was there."""
    path: str
    """The request target with its query; `*` and absolute forms as sent."""
    http_version: str
    """HTTP/1.0, HTTP/1.1 or HTTP/2.0."""
    headers: Headers
    raw_content: bytes | None = b""
    """The body as it travels (encoded); None while it is unknown or if it is streamed."""
    trailers: Headers | None = None
    timestamp_start: float = 0.0
    """Seconds since 1970, UTC."""
    timestamp_end: float | None = None
    stream: bool | Transform = False
    """Set in `requestheaders`: do not gather the body, pass it on as it comes."""
    server: tuple[str, int] | None = None
    """Host and port to send it to instead of where the app's connection goes.  Set through `host`, `port`, `url`."""

    @classmethod
    def make(
        cls, method: str, url: str, content: bytes | str = b"", headers: object = (),
    ) -> Request:  # fmt: skip
        """Raises ValueError for what is no absolute URL."""
        scheme, host, port, target = split_url(url)
        authority = joined_authority(scheme, host, port)
        made = made_headers(headers)
        if "host" not in made:
            made.insert(0, "Host", authority)
        return cls(method, scheme, authority, target, "HTTP/1.1", made, made_bytes(content))

    @property
    def host(self) -> str:
        """What the app asks for, without its port; setting it sends the request there."""
        return self.server[0] if self.server else split_authority(self.authority)[0]

    @host.setter
    def host(self, host: str) -> None:
        self._send_to(self.scheme, host, self.port)

    @property
    def port(self) -> int:
        if self.server:
            return self.server[1]
        return split_authority(self.authority)[1] or DEFAULT_PORTS.get(self.scheme, 443)

    @port.setter
    def port(self, port: int) -> None:
        self._send_to(self.scheme, self.host, int(port))

    def _send_to(self, scheme: str, host: str, port: int) -> None:
        if not host or not 0 < port <= 65535:
            raise ValueError(f"no host and port: {host!r}, {port}")
        if (scheme, host, port) == (self.scheme, self.host, self.port):
            return
        self.scheme, self.server, self.host_header = scheme, (host, port), joined_authority(scheme, host, port)

    @property
    def host_header(self) -> str | None:
        return self.headers.get("host") or self.authority or None

    @host_header.setter
    def host_header(self, value: str) -> None:
        """What the origin is told; where the request goes stays."""
        self.authority = value
        if "host" in self.headers:
            self.headers["Host"] = value

    @property
    def pretty_host(self) -> str:
        return split_authority(self.host_header or "")[0] or self.host

    @property
    def url(self) -> str:
        if "://" in self.path:
            return self.path
        path = "" if self.path == "*" else self.path
        return f"{self.scheme}://{joined_authority(self.scheme, self.host, self.port)}{path}"

    @url.setter
    def url(self, url: str) -> None:
        """Raises ValueError for what is no absolute URL."""
        scheme, host, port, target = split_url(url)
        if (scheme, host, port) != (self.scheme, self.host, self.port):
            self._send_to(scheme, host, port)
        self.path = target

    @property
    def pretty_url(self) -> str:
        if "://" in self.path:
            return self.path
        path = "" if self.path == "*" else self.path
        return f"{self.scheme}://{joined_authority(self.scheme, self.pretty_host, self.port)}{path}"

    @property
    def query(self) -> FieldsView[str, str]:
        return FieldsView(lambda: read_query(self.path), self._write_query)

    @query.setter
    def query(self, value: Mapping[str, str] | TextPairs) -> None:
        self._write_query(pairs_of(value))

    def _write_query(self, pairs: TextPairs) -> None:
        self.path = with_query(self.path, pairs)

    @property
    def path_components(self) -> tuple[str, ...]:
        return tuple(part for part in self.path.partition("?")[0].split("/") if part)

    @path_components.setter
    def path_components(self, parts: Iterable[str]) -> None:
        _, question, query = self.path.partition("?")
        self.path = "/" + "/".join(parts) + question + query

    @property
    def cookies(self) -> FieldsView[str, str]:
        return FieldsView(lambda: read_cookies(self.headers.get_all("cookie")), self._write_cookies)

    @cookies.setter
    def cookies(self, value: Mapping[str, str] | TextPairs) -> None:
        self._write_cookies(pairs_of(value))

    def _write_cookies(self, pairs: TextPairs) -> None:
        written = write_cookies(pairs)
        self.headers.set_all("cookie", [written] if written else [])

    @property
    def urlencoded_form(self) -> FieldsView[str, str]:
        """Empty if the body is no such form."""
        return FieldsView(self._read_form, self._write_form)

    @urlencoded_form.setter
    def urlencoded_form(self, value: Mapping[str, str] | TextPairs) -> None:
        self._write_form(pairs_of(value))

    def _read_form(self) -> list[tuple[str, str]]:
        if "application/x-www-form-urlencoded" not in self.headers.get("content-type", "").lower():
            return []
        return read_urlencoded(self.get_text(strict=False) or "")

    def _write_form(self, pairs: TextPairs) -> None:
        self.headers["content-type"] = "application/x-www-form-urlencoded"
        self.content = write_urlencoded(pairs).encode()

    @property
    def multipart_form(self) -> FieldsView[bytes, bytes]:
        """Names and contents of a multipart/form-data body; writing keeps no file names."""
        return FieldsView(self._read_multipart, self._write_multipart)

    @multipart_form.setter
    def multipart_form(self, value: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]) -> None:
        self._write_multipart(pairs_of(value))

    def _read_multipart(self) -> list[tuple[bytes, bytes]]:
        boundary = boundary_of(self.headers.get("content-type", ""))
        return read_multipart(self.get_content(strict=False) or b"", boundary) if boundary else []

    def _write_multipart(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        boundary = boundary_of(self.headers.get("content-type", "")) or MADE_BOUNDARY
        pairs = list(pairs)
        while any(boundary in content for _, content in pairs):
            boundary += b"-"
        self.headers["content-type"] = f"multipart/form-data; boundary={boundary.decode()}"
        self.content = write_multipart(pairs, boundary)

    def anticache(self) -> None:
        """Ask for the whole, not whether it has changed."""
        for name in ("if-modified-since", "if-none-match"):
            self.headers.pop(name, None)

    def anticomp(self) -> None:
        self.headers["accept-encoding"] = "identity"

    def constrain_encoding(self) -> None:
        """Ask for no coding that could not be undone here."""
        accepted = self.headers.get("accept-encoding")
        if accepted:
            known = [one.strip() for one in accepted.split(",")]
            kept = [one for one in known if one.partition(";")[0].strip() in ("gzip", "identity", "deflate")]
            self.headers["accept-encoding"] = ", ".join(kept) or "identity"

    def __repr__(self) -> str:
        """Short, and without what may be secret: people print flows."""
        return f"Request({self.method} {self.pretty_url.partition('?')[0]})"

    def copy(self) -> Request:
        return deepcopy(self)
