"""What a request and a response have in common for whoever looks into them: a body, its text, its codings.

Nothing here is used by the engine to carry a message on: it sends `raw_content` as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, cast

from pointsman.engine.content import charset_of, decode, encode
from pointsman.engine.fields import Headers

Transform = Callable[[bytes], bytes | Iterable[bytes]]
"""Given each piece of a streamed body as it comes, and b"" at its end; what it returns is sent instead."""


class Message:
    """Methods only; the fields are those of the dataclass that inherits them."""

    headers: Headers
    raw_content: bytes | None
    http_version: str
    timestamp_start: float
    timestamp_end: float | None
    trailers: Headers | None

    @property
    def content(self) -> bytes | None:
        """The body without its content codings; None if it is streamed or not here yet.

        Raises ValueError if it cannot be decoded, see `engine.content.decode`.
        """
        return self.get_content()

    @content.setter
    def content(self, value: bytes | None) -> None:
        self.set_content(value)

    @property
    def text(self) -> str | None:
        """The body as text, by its character set or a guess.  Raises ValueError as `content` does."""
        return self.get_text()

    @text.setter
    def text(self, value: str | None) -> None:
        self.set_text(value)

    def get_content(self, strict: bool = True) -> bytes | None:
        """With `strict` false, what cannot be decoded is returned as it travels."""
        coding = self.headers.get("content-encoding")
        if self.raw_content is None or not coding:
            return self.raw_content
        try:
            return decode(self.raw_content, coding)
        except ValueError:
            if strict:
                raise
            return self.raw_content

    def set_content(self, value: bytes | None) -> None:
        """Encoded as Content-Encoding says; if that cannot be done here, sent plain, and the header goes."""
        if value is not None and not isinstance(value, bytes):
            raise TypeError(f"content is bytes, not {type(value).__name__}; use .text for text")
        coding = self.headers.get("content-encoding")
        raw = value
        if value is not None and coding:
            try:
                raw = encode(value, coding)
            except ValueError:
                del self.headers["content-encoding"]
        self.raw_content = raw
        if raw is not None and "content-length" in self.headers:
            self.headers["content-length"] = str(len(raw))

    def get_text(self, strict: bool = True) -> str | None:
        """With `strict` false nothing is raised, and bytes that are no text become surrogates."""
        content = self.get_content(strict)
        if content is None:
            return None
        charset = charset_of(self.headers.get("content-type", ""), content)
        try:
            return content.decode(charset)
        except UnicodeDecodeError:
            if strict:
                raise
            return content.decode("utf-8", "surrogateescape")

    def set_text(self, text: str | None) -> None:
        """In the character set that is there; if the text does not fit in it, UTF-8, and the header says so."""
        if text is None:
            self.set_content(None)
            return
        type_ = self.headers.get("content-type", "")
        charset = charset_of(type_, self.get_content(strict=False) or b"")
        if charset == "latin-1" and "charset" not in type_.lower():
            charset = "utf-8"
        try:
            encoded = text.encode(charset)
        except (UnicodeEncodeError, LookupError):
            kept = [
                part for part in type_.split(";") if part.strip() and not part.strip().lower().startswith("charset")
            ]
            self.headers["content-type"] = ";".join([*(kept or ["text/plain"]), " charset=utf-8"])
            encoded = text.encode("utf-8", "surrogateescape")
        self.set_content(encoded)

    def json(self, **kwargs: Any) -> Any:
        """Raises ValueError for what is no JSON, TypeError if there is no body here."""
        content = self.get_content(strict=False)
        if content is None:
            raise TypeError("the body is not here")
        return json.loads(content, **kwargs)

    def decode(self, strict: bool = True) -> None:
        """Undo the content codings for good.  Raises ValueError, unless `strict` is false."""
        decoded = self.get_content(strict)
        self.headers.pop("content-encoding", None)
        self.content = decoded

    def encode(self, coding: str) -> None:
        """Send it with this coding.  Raises ValueError if that cannot be done."""
        plain = self.get_content()
        if plain is None:
            raise ValueError("the body is not here")
        encode(b"", coding)  # whether it can be done, before anything is changed
        self.headers["content-encoding"] = coding
        self.content = plain

    @property
    def is_http10(self) -> bool:
        return self.http_version == "HTTP/1.0"

    @property
    def is_http11(self) -> bool:
        return self.http_version == "HTTP/1.1"

    @property
    def is_http2(self) -> bool:
        return self.http_version in ("HTTP/2.0", "HTTP/2")


def made_headers(headers: object) -> Headers:
    """From whatever people write: a mapping, pairs of str or bytes, Headers.

    Raises TypeError for anything else.
    """
    if isinstance(headers, Headers):
        return headers.copy()
    if isinstance(headers, dict):
        pairs = list(headers.items())
    elif isinstance(headers, (list, tuple)):
        pairs = [cast("tuple[object, object]", (name, value)) for name, value in headers]
    else:
        raise TypeError(f"headers are a mapping or pairs, not {type(headers).__name__}")
    return Headers((_bytes(name), _bytes(value)) for name, value in pairs)


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    raise TypeError(f"a header is str or bytes, not {type(value).__name__}")


def made_bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content
