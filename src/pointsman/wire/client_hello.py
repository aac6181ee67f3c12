"""Read the names in a TLS ClientHello: whom the app wants, which protocols and versions it offers.

Pure and incremental (RFC 8446 4.1.2 and 5.1): give it everything received so far, it answers with a value, "need data"
or "not TLS", and never with an exception.  How the bytes were cut into packets, records or handshake fragments makes no
difference.  It does not judge the offer; that is OpenSSL's business later.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LIMIT = 64 * 1024  # bytes of records; a hello with post-quantum key shares has about 2 KiB
MAX_RECORD = 2**14  # bytes of fragment in one plaintext record
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_FIXED = 34  # bytes at the begin of the body: legacy version and random
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


class Incomplete(Enum):
    NEED_DATA = "need data"
    NOT_TLS = "not TLS"


@dataclass(frozen=True, slots=True)
class ClientHello:
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
    except _MalformedError:
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
    """By offsets: most of a hello is of no interest here, and every connection brings one."""
    legacy_version = int.from_bytes(body[:2], "big")
    at = _FIXED
    for length_size in (1, 2, 1):  # legacy session id, cipher suites, compression methods
        at = _end_of_vector(body, at, len(body), length_size)
    name: str | None = None
    alpn: tuple[str, ...] = ()
    versions: tuple[int, ...] = (legacy_version,)
    if at < len(body):
        end = _end_of_vector(body, at, len(body), 2)
        at += 2
        while at < end:
            begin, at = at, _end_of_vector(body, at + 2, end, 2)
            kind = body[begin] << 8 | body[begin + 1]
            if kind == _SERVER_NAME:
                name = _server_name(_Reader(body[begin + 4 : at]))
            elif kind == _ALPN:
                alpn = _alpn(_Reader(body[begin + 4 : at]))
            elif kind == _SUPPORTED_VERSIONS:
                versions = _versions(_Reader(body[begin + 4 : at]))
    return ClientHello(name, alpn, versions)


def _end_of_vector(data: bytes, at: int, end: int, length_size: int) -> int:
    """Where the vector ends whose length stands at `at`; it must lie before `end`.  Raises _MalformedError."""
    begin = at + length_size
    if begin > end:
        raise _MalformedError
    stop = begin + (data[at] if length_size == 1 else data[at] << 8 | data[at + 1])
    if stop > end:
        raise _MalformedError
    return stop


def _server_name(content: _Reader) -> str | None:
    names = content.vector(2)
    while names.left():
        kind = names.number(1)
        name = names.vector(2).rest()
        if kind == 0:
            return host_name(name.decode("ascii", "replace"))
    return None


def _alpn(content: _Reader) -> tuple[str, ...]:
    protocols = content.vector(2)
    found = []
    while protocols.left():
        found.append(protocols.vector(1).rest().decode("ascii", "backslashreplace"))
    return tuple(found)


def _versions(content: _Reader) -> tuple[int, ...]:
    listed = content.vector(1)
    found = []
    while listed.left():
        found.append(listed.number(2))
    return tuple(found)


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


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left():
            raise _MalformedError
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_size: int) -> _Reader:
        return _Reader(self.take(self.number(length_size)))

    def rest(self) -> bytes:
        return self.take(self.left())
