"""Where an HTTP/1 body ends, and what is in it (RFC 9112 6 and 7).

Pure and incremental: each reader takes what belongs to it from the front of a buffer and leaves the rest, which is the
next message.  Nothing is kept but the size of what is to come, so a body of any length costs no memory here.
"""

from __future__ import annotations

import re
from typing import Protocol

from pointsman.wire.http1_heads import HEAD_LIMIT, Field, HeadError, parse_fields, take_head

LINE_LIMIT = 4096  # bytes of a line with a chunk's size
EXTENSIONS_LIMIT = 16 * 1024  # bytes of chunk extensions in one body; nobody sends any
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t \x21-\x7e\x80-\xff]*)?")
_NOT_IN_TRAILERS = frozenset((b"content-length", b"transfer-encoding", b"host", b"connection", b"te", b"trailer"))


class Body(Protocol):
    done: bool
    trailers: list[Field]

    def take(self, buffer: bytearray) -> bytes:
        """What is here of it; b"" if nothing is, or with `done` at its end.  Raises HeadError."""


class SizedBody:
    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0
        self.trailers: list[Field] = []

    def take(self, buffer: bytearray) -> bytes:
        if len(buffer) <= self.left:
            data = bytes(buffer)
            buffer.clear()
        else:
            data = bytes(memoryview(buffer)[: self.left])
            del buffer[: self.left]
        self.left -= len(data)
        self.done = self.left == 0
        return data


class EndlessBody:
    """Until the connection closes."""

    def __init__(self) -> None:
        self.done = False
        self.trailers: list[Field] = []

    def take(self, buffer: bytearray) -> bytes:
        data = bytes(buffer)
        buffer.clear()
        return data


class ChunkedBody:
    def __init__(self) -> None:
        self.done = False
        self.trailers: list[Field] = []
        self._left = 0
        """Bytes of the chunk that we are in, without its CRLF."""
        self._within = False
        self._in_trailers = False
        self._extensions = 0

    def take(self, buffer: bytearray) -> bytes:
        parts: list[bytes] = []
        while buffer and not self.done:
            if self._in_trailers:
                if not self._take_trailers(buffer):
                    break
            elif self._left:
                size = min(self._left, len(buffer))
                parts.append(bytes(memoryview(buffer)[:size]))
                del buffer[:size]
                self._left -= size
            elif not (self._take_chunk_end(buffer) if self._within else self._take_size(buffer)):
                break
        return b"".join(parts)

    def _take_chunk_end(self, buffer: bytearray) -> bool:
        if not b"\r\n".startswith(buffer[:2]):
            raise HeadError("a chunk that does not end where it said")
        if len(buffer) < 2:
            return False
        del buffer[:2]
        self._within = False
        return True

    def _take_size(self, buffer: bytearray) -> bool:
        end = buffer.find(b"\n", 0, LINE_LIMIT)
        if end < 0:
            if len(buffer) >= LINE_LIMIT:
                raise HeadError("an endless chunk size")
            return False
        found = _SIZE.fullmatch(buffer, 0, end - 1) if buffer[end - 1 : end] == b"\r" else None
        if found is None:
            raise HeadError("no chunk size")
        self._extensions += found.end() - found.end(1)
        if self._extensions > EXTENSIONS_LIMIT:
            raise HeadError("too many chunk extensions")
        self._left = int(found[1], 16)
        self._within = self._left > 0
        self._in_trailers = self._left == 0
        del found  # it holds on to the buffer
        del buffer[: end + 1]
        return True

    def _take_trailers(self, buffer: bytearray) -> bool:
        if buffer.startswith(b"\r\n"):
            del buffer[:2]
            self.done = True
            return True
        block = take_head(buffer)
        if block is None:
            if len(buffer) >= HEAD_LIMIT:
                raise HeadError("endless trailers", 431)
            return False
        self.trailers = parse_fields(block)
        if any(name.lower() in _NOT_IN_TRAILERS for name, _ in self.trailers):
            raise HeadError("a trailer field that belongs into the head")
        self.done = True
        return True


def write_chunk(data: bytes) -> bytes:
    """`data` is not empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)
