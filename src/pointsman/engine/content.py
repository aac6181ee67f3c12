"""Bodies as people mean them: content codings undone and done again (RFC 9110 8.4), and their text.

Called by those who look at a body, never by the engine for its own sake.  A body of a few kilobytes may decode to
terabytes, so decoding stops at a bound.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

DECODED_LIMIT = 64 * 1024 * 1024  # bytes; four times what the engine gathers of a body by default
CODINGS_LIMIT = 4  # applied one over the other
IDENTITY = ("", "identity")
_CHARSET = re.compile(r'charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([^\s"'/>]+)""", re.IGNORECASE)


class Stepwise(Protocol):
    """A decompressor that can be told how much it may give."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decode(data: bytes, coding: str, *, limit: int = DECODED_LIMIT) -> bytes:
    """Undo the codings of a Content-Encoding value, the last one first.

    Raises:
        ValueError: unknown coding, a package for it is missing, damaged data, or more than `limit` bytes.
    """
    for one in _codings(coding):
        try:
            data = _DECODERS[one](data, limit)
        except KeyError:
            raise ValueError(f"unknown content coding {one!r}") from None
        except ValueError:
            raise
        except Exception as error:  # zlib.error, brotli.error, ZstdError: none of them shares a base
            raise ValueError(f"not {one}: {error}") from error
    return data


def encode(data: bytes, coding: str) -> bytes:
    """Do the codings of a Content-Encoding value.  Raises ValueError as `decode` does."""
    for one in reversed(_codings(coding)):
        try:
            data = _ENCODERS[one](data)
        except KeyError:
            raise ValueError(f"unknown content coding {one!r}") from None
    return data


def charset_of(content_type: str, content: bytes) -> str:
    """The name of a character set that Python knows: as the type says, or the page, else a guess."""
    said = _CHARSET.search(content_type)
    if said is None and "html" in content_type.lower():
        meta = _META_CHARSET.search(content[:4096])
        name = str(meta[1], "ascii", "replace") if meta else ""
    else:
        name = str(said[1]) if said else ""
    if name and _is_known(name):
        return name
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"  # every byte means something in it
    return "utf-8"


def _is_known(charset: str) -> bool:
    try:
        "a".encode(charset)
    except (LookupError, ValueError):  # none, or no text encoding
        return False
    return True


def _codings(value: str) -> list[str]:
    names = [name for part in value.split(",") if (name := part.strip().lower()) not in IDENTITY]
    if len(names) > CODINGS_LIMIT:
        raise ValueError(f"more than {CODINGS_LIMIT} content codings")
    return names[::-1]


def _bounded(make: Callable[[], Stepwise], data: bytes, limit: int) -> bytes:
    """All members that lie one after the other (RFC 1952 2.2), as browsers read them."""
    whole = bytearray()
    while data:
        one = make()
        whole += one.decompress(data, limit + 1 - len(whole))
        if len(whole) > limit:
            raise ValueError(f"decodes to more than {limit} bytes")
        if not one.eof:
            raise ValueError("ends too early")
        data = one.unused_data
    return bytes(whole)


def _gzip(data: bytes, limit: int) -> bytes:
    return _bounded(lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), data, limit)


def _deflate(data: bytes, limit: int) -> bytes:
    """With its zlib wrapper (RFC 9110 8.4.1.2), or without: both are met."""
    try:
        return _bounded(zlib.decompressobj, data, limit)
    except zlib.error:
        return _bounded(lambda: zlib.decompressobj(-zlib.MAX_WBITS), data, limit)


def _brotli(data: bytes, limit: int) -> bytes:
    decompressor = _package("brotli", "brotli").Decompressor()
    whole = bytearray(decompressor.process(data, output_buffer_limit=limit + 1))
    while len(whole) <= limit and not decompressor.can_accept_more_data():
        whole += decompressor.process(b"", output_buffer_limit=limit + 1 - len(whole))
    if len(whole) > limit:
        raise ValueError(f"decodes to more than {limit} bytes")
    if not decompressor.is_finished():
        raise ValueError("ends too early")
    return bytes(whole)


def _zstd(data: bytes, limit: int) -> bytes:
    return _bounded(_zstd_module().ZstdDecompressor, data, limit)


def _deflated(data: bytes) -> bytes:
    return zlib.compress(data)


def _gzipped(data: bytes) -> bytes:
    one = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return one.compress(data) + one.flush()


def _brotlied(data: bytes) -> bytes:
    done: bytes = _package("brotli", "brotli").compress(data, quality=4)
    return done


def _zstded(data: bytes) -> bytes:
    done: bytes = _zstd_module().compress(data)
    return done


def _zstd_module() -> Any:
    return _package("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd", "zstd")


def _package(name: str, coding: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ValueError(f"content coding {coding!r} needs a package: pip install 'pointsman[inspect]'") from None


_DECODERS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd,
}  # fmt: skip
_ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": _gzipped, "x-gzip": _gzipped, "deflate": _deflated, "br": _brotlied, "zstd": _zstded,
}  # fmt: skip
