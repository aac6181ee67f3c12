"""`mitmproxy.utils.strutils`: bytes for people."""

from __future__ import annotations

from typing import overload


@overload
def always_bytes(value: None, encoding: str = ..., errors: str = ...) -> None: ...
@overload
def always_bytes(value: str | bytes, encoding: str = ..., errors: str = ...) -> bytes: ...
def always_bytes(value: str | bytes | None, encoding: str = "utf-8", errors: str = "strict") -> bytes | None:
    return value.encode(encoding, errors) if isinstance(value, str) else value


@overload
def always_str(value: None, encoding: str = ..., errors: str = ...) -> None: ...
@overload
def always_str(value: str | bytes, encoding: str = ..., errors: str = ...) -> str: ...
def always_str(value: str | bytes | None, encoding: str = "utf-8", errors: str = "strict") -> str | None:
    return value.decode(encoding, errors) if isinstance(value, bytes) else value


def bytes_to_escaped_str(data: bytes, keep_spacing: bool = False, escape_single_quotes: bool = False) -> str:
    """As in a Python literal, without its quotes."""
    text = repr(b'"' + data)[3:-1]  # the quotation mark in front makes repr choose single quotes
    if not escape_single_quotes:
        text = text.replace("\\'", "'")
    return text.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t") if keep_spacing else text


__all__ = ["always_bytes", "always_str", "bytes_to_escaped_str"]
