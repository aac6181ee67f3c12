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


def is_mostly_bin(data: bytes) -> bool:
    """More than a few of its first bytes are no text."""
    if not data:
        return False
    first = data[:100]
    try:  # cut off in the middle of a character at most
        first.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(first) - 3 or len(data) <= len(first):
            return sum(byte < 9 or 13 < byte < 32 or byte > 126 for byte in first) / len(first) > 0.3
    return any(byte < 9 or 13 < byte < 27 for byte in first)


def is_xml(data: bytes) -> bool:
    return data.lstrip().startswith(b"<")


def escape_control_characters(text: str, keep_spacing: bool = True) -> str:
    """Each as a dot; line ends and tabs may stay."""
    kept = "\t\n\r" if keep_spacing else ""
    return "".join(one if one in kept or (one >= " " and one != "\x7f") else "." for one in text)


__all__ = [
    "always_bytes", "always_str", "bytes_to_escaped_str", "escape_control_characters", "is_mostly_bin", "is_xml",
]  # fmt: skip
