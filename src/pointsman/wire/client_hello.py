"""Read the names in a TLS ClientHello: whom the app wants, which protocols and versions it offers.

Pure and incremental (RFC 8446 4.1.2 and 5.1): give it everything received so far, it answers with a value, "need data"
or "not TLS", and never with an exception.  How the bytes were cut into packets, records or handshake fragments makes no
difference.  It does not judge the offer; that is OpenSSL's business later.
"""

from __future__ import annotations

import struct
from enum import Enum
from functools import lru_cache

from msgspec import Struct

LIMIT = 64 * 1024  # bytes of records; a hello with post-quantum key shares has about 2 KiB
MAX_RECORD = 2**14  # bytes of fragment in one plaintext record
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_FIXED = 34  # bytes at the begin of the body: legacy version and random
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43
_READ = frozenset((_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS))
_number = struct.Struct(">H").unpack_from
_extension = struct.Struct(">HH").unpack_from  # its kind and length
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


class Incomplete(Enum):
    NEED_DATA = "need data"
    NOT_TLS = "not TLS"


class ClientHello(Struct, frozen=True, gc=False):
    server_name: str | None
    """Lower case; None if absent, or if it is no name that DNS could hold (an address, stray bytes)."""
    alpn: tuple[str, ...]
    """In the app's order; bytes outside ASCII are escaped, so that no two offers look alike."""
    versions: tuple[int, ...]
    """As on the wire, 0x0304 is TLS 1.3.  Without the extension: the one legacy version."""


def parse_client_hello(data: bytes | bytearray) -> ClientHello | Incomplete:
    message = _handshake_message(data)
    if isinstance(message, Incomplete):
        return message
    try:
        return _parse_body(message)
    except (_MalformedError, IndexError, struct.error):
        return Incomplete.NOT_TLS


def _handshake_message(data: bytes | bytearray) -> bytes | Incomplete:
    """The body of the ClientHello, put together from as many records as it takes."""
    message = bytearray()
    at = 0
    while True:
        header = data[at : at + 5]
        if not _may_be_record(header):
            return Incomplete.NOT_TLS
        if len(header) < 5:
            break
        size = int.from_bytes(header[3:5], "big")
        if size == 0 or size > MAX_RECORD:
            return Incomplete.NOT_TLS
        message += data[at + 5 : at + 5 + size]
        if message and message[0] != _CLIENT_HELLO:
            return Incomplete.NOT_TLS
        if len(message) >= 4:
            end = 4 + int.from_bytes(message[1:4], "big")
            if end > LIMIT:
                return Incomplete.NOT_TLS
            if len(message) >= end:
                return bytes(message[4:end])
        at += 5 + size
        if at > len(data):
            break
        if at > LIMIT:  # even one-byte records end somewhere
            return Incomplete.NOT_TLS
    return Incomplete.NEED_DATA


def _may_be_record(header: bytes | bytearray) -> bool:
    return (len(header) < 1 or header[0] == _HANDSHAKE) and (len(header) < 2 or header[1] == 3)


def _parse_body(body: bytes) -> ClientHello:
    """By offsets: most of a hello is of no interest here, and every connection brings one.

    Raises _MalformedError, IndexError or struct.error.
    """
    legacy_version = int.from_bytes(body[:2], "big")
    at = _FIXED + 1 + body[_FIXED]  # behind the legacy session id
    at += 2 + _number(body, at)[0]  # the cipher suites
    at += 1 + body[at]  # the compression methods
    found: dict[int, bytes] = {}
    size = len(body)
    if at < size:
        end = at + 2 + _number(body, at)[0]
        at += 2
        while at < end <= size:
            kind, length = _extension(body, at)
            begin, at = at + 4, at + 4 + length
            if kind in _READ:
                found[kind] = body[begin:at]
        if at != end:
            raise _MalformedError
    elif at > size:
        raise _MalformedError
    return ClientHello(
        _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else None,
        _alpn(found[_ALPN]) if _ALPN in found else (),
        _versions(found[_SUPPORTED_VERSIONS]) if _SUPPORTED_VERSIONS in found else (legacy_version,),
    )


# The same app sends the same lists again and again.


@lru_cache(maxsize=512)
def _server_name(content: bytes) -> str | None:
    at, end = 2, _end_of_list(content, 2, _number(content, 0)[0])
    while at < end:
        kind, begin = content[at], at + 3
        at = _end_of_list(content, begin, _number(content, at + 1)[0])
        if at > end:
            raise _MalformedError
        if kind == 0:
            return host_name(content[begin:at].decode("ascii", "replace"))
    return None


@lru_cache(maxsize=64)
def _alpn(content: bytes) -> tuple[str, ...]:
    at, end = 2, _end_of_list(content, 2, _number(content, 0)[0])
    found = []
    while at < end:
        begin, at = at + 1, _end_of_list(content, at + 1, content[at])
        if at > end:
            raise _MalformedError
        found.append(content[begin:at].decode("ascii", "backslashreplace"))
    return tuple(found)


@lru_cache(maxsize=64)
def _versions(content: bytes) -> tuple[int, ...]:
    end = _end_of_list(content, 1, content[0])
    if not end % 2:
        raise _MalformedError
    return tuple(_number(content, at)[0] for at in range(1, end, 2))


def _end_of_list(content: bytes, begin: int, size: int) -> int:
    if begin + size > len(content):
        raise _MalformedError
    return begin + size


def host_name(text: str) -> str | None:
    """`text` as a lower-case DNS name without its final dot; None if it cannot be one (an IPv4 address cannot)."""
    name = text.lower().removesuffix(".")
    if not 0 < len(name) <= 253 or not _NAME_CHARACTERS.issuperset(name):
        return None
    labels = name.split(".")
    if not all(0 < len(label) <= 63 for label in labels) or labels[-1].isdigit():
        return None
    return name


class _MalformedError(Exception):
    """A length points outside of what holds it."""
