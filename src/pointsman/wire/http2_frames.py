"""Split a direction of an HTTP/2 connection into frames (RFC 9113 4.1), however TCP has cut it.

Pure.  DATA, which is nearly everything, is counted and never copied; other frames come whole.  What the frames mean is
not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE = 9
KEPT_LIMIT = 64 * 1024  # bytes of a frame other than DATA; RFC 9113 lets peers agree on more, nobody does for headers


class FrameType(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

READ = frozenset((FrameType.HEADERS, FrameType.RST_STREAM, FrameType.PUSH_PROMISE, FrameType.GOAWAY,
                  FrameType.CONTINUATION))  # fmt: skip
"""The types whose payload somebody wants."""

Frame = tuple[int, int, int, int, bytes]
"""Type, flags, stream, size of the whole frame in bytes, payload (empty unless the type is in READ)."""


def is_greeting(data: bytes) -> bool:
    """Does it begin as an HTTP/2 server does: with SETTINGS (RFC 9113 3.4, 6.5), which has entries of 6 bytes?"""
    head = data[:HEADER_SIZE]
    size = int.from_bytes(head[:3], "big")
    return head[3:] == bytes((FrameType.SETTINGS, 0, 0, 0, 0, 0)) and size % 6 == 0 and size <= KEPT_LIMIT


class FrameError(ValueError):
    """Not HTTP/2, or more of it than we keep."""


class FrameReader:
    def __init__(self, *, preface: bool) -> None:
        """`preface`: this is the client's direction, which begins with one."""
        self._kept = bytearray()
        self._needed = 0
        """Bytes that `_kept` must have before it is looked at again: whoever dribbles costs no more than others."""
        self._skip = 0
        self._preface = preface

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that end, or if they are DATA begin, in `data`.  Raises FrameError, and is of no use then."""
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        at, self._skip = self._skip, 0
        if self._kept:
            self._kept += data
            if len(self._kept) < self._needed:
                return
            data, self._kept, at = bytes(self._kept), bytearray(), 0
        if self._preface:
            if len(data) < len(PREFACE):
                if not PREFACE.startswith(data):
                    raise FrameError("no connection preface")
                self._keep(data, len(PREFACE))
                return
            if not data.startswith(PREFACE):
                raise FrameError("no connection preface")
            self._preface = False
            at = len(PREFACE)
        end = len(data)
        while end - at >= HEADER_SIZE:
            size = int.from_bytes(data[at : at + 3], "big")
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            begin, at = at, at + HEADER_SIZE + size
            if kind not in READ:
                yield kind, flags, stream, HEADER_SIZE + size, b""
                continue
            if size > KEPT_LIMIT:
                raise FrameError(f"a frame of type {kind} with {size} bytes")
            if at > end:
                self._keep(data[begin:], HEADER_SIZE + size)
                return
            yield kind, flags, stream, HEADER_SIZE + size, data[begin + HEADER_SIZE : at]
        if at > end:
            self._skip = at - end
        elif at < end:
            self._keep(data[at:], HEADER_SIZE)

    def _keep(self, data: bytes, needed: int) -> None:
        self._kept += data
        self._needed = needed
