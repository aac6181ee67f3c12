"""A response as it may be changed on its way, or made in place of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from http import HTTPStatus

from pointsman.engine.fields import FieldsView, Headers, pairs_of
from pointsman.engine.forms import read_set_cookie, write_set_cookie
from pointsman.engine.message_body import Message, Transform, made_headers

Attributes = FieldsView[str, str | None]
Cookie = tuple[str, Attributes]
Cookies = FieldsView[str, Cookie]


@dataclass(slots=True, repr=False)
class Response(Message):
    status_code: int
    reason: str
    http_version: str
    headers: Headers
    raw_content: bytes | None = b""
    trailers: Headers | None = None
    timestamp_start: float = 0.0
    timestamp_end: float | None = None
    stream: bool | Transform = False
    """Set in `responseheaders`."""

    @classmethod
    def make(
        cls, status_code: int = 200, content: bytes | str = b"", headers: object = (), reason: str | None = None,
    ) -> Response:  # fmt: skip
        """`headers`: a mapping, or pairs of str or bytes."""
        if reason is None:
            reason = HTTPStatus(status_code).phrase if status_code in HTTPStatus._value2member_map_ else ""
        response = cls(int(status_code), reason, "HTTP/1.1", made_headers(headers))
        if isinstance(content, str):
            response.text = content
        else:
            response.content = content
        response.headers["content-length"] = str(len(response.raw_content or b""))
        return response

    @property
    def cookies(self) -> Cookies:
        """Name to (value, attributes); attributes are pairs, None standing for no `=`."""
        return FieldsView(self._read_cookies, self._write_cookies)

    @cookies.setter
    def cookies(self, value: Mapping[str, Cookie] | Iterable[tuple[str, Cookie]]) -> None:
        self._write_cookies(pairs_of(value))

    def _read_cookies(self) -> list[tuple[str, Cookie]]:
        return [_cookie(header) for header in self.headers.get_all("set-cookie")]

    def _write_cookies(self, pairs: Iterable[tuple[str, Cookie]]) -> None:
        written = [write_set_cookie(name, value, pairs_of(attributes)) for name, (value, attributes) in pairs]
        self.headers.set_all("set-cookie", written)

    def __repr__(self) -> str:
        size = "streamed" if self.raw_content is None else f"{len(self.raw_content)} bytes"
        return f"Response({self.status_code}, {self.headers.get('content-type', 'no type')}, {size})"

    def copy(self) -> Response:
        return deepcopy(self)


def _cookie(header: str) -> tuple[str, Cookie]:
    name, value, attributes = read_set_cookie(header)

    def write(pairs: list[tuple[str, str | None]]) -> None:
        attributes[:] = pairs

    return name, (value, FieldsView(lambda: attributes, write))
