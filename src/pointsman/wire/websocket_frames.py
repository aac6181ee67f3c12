"""Split a direction of a WebSocket into frames (RFC 6455 5.2), however TCP has cut it.

Pure.  Payloads are counted and never copied, but for close frames, which have 125 bytes at most.  A compressed message
(RFC 7692) is a message like others; nothing is inflated.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

CONTROL_LIMIT = 125  # bytes of a control frame's payload


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


Frame = tuple[Opcode, bool, int, bytes]
"""Opcode, whether it ends its message, bytes of payload, and the payload of a close frame."""


class FrameError(ValueError):
    """No frame that RFC 6455 knows."""

    code = 1002
    """That a close frame gives as the reason (RFC 6455 7.4.1)."""


class FrameReader:
    def __init__(self, *, masked: bool) -> None:
        """`masked`: this is the client's direction."""
        self._masked = masked
        self._kept = b""
        self._skip = 0
        self._in_message = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that begin in `data`, close frames when they are whole.  Raises FrameError, and is of no use
        then."""
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        at, self._skip = self._skip, 0
        if self._kept:  # never more than the head of a frame, or a close frame
            data, self._kept, at = self._kept + data, b"", 0
        while at < len(data):
            head = self._head(data, at)
            if head is None:
                self._kept = data[at:]
                return
            opcode, final, begin, size = head
            payload = b""
            if opcode is Opcode.CLOSE:
                if begin + size > len(data):
                    self._kept = data[at:]
                    return
                payload = masked(data[begin : begin + size], data[begin - 4 : begin] if self._masked else None, 0)
            if opcode < Opcode.CLOSE:
                self._in_message = not final
            at = begin + size
            yield opcode, final, size, payload
        self._skip = at - len(data)

    def _head(self, data: bytes, at: int) -> tuple[Opcode, bool, int, int] | None:
        """Opcode, final, where the payload begins and its size; None if there is too little to tell."""
        if len(data) < at + 2:
            return None
        first, second = data[at], data[at + 1]
        opcode, final, size = opcode_of(first & 0x0F), bool(first & 0x80), second & 0x7F
        if bool(second & 0x80) != self._masked:
            raise FrameError("masked by the server, or not by the client")
        if first & 0x30:
            raise FrameError("reserved bits")
        if opcode >= Opcode.CLOSE and (not final or size > CONTROL_LIMIT):
            raise FrameError("a control frame in parts, or a long one")
        if opcode < Opcode.CLOSE and (opcode is Opcode.CONTINUATION) != self._in_message:
            raise FrameError("a message within a message, or the rest of none")
        begin = at + 2
        extended = {126: 2, 127: 8}.get(size, 0)
        if extended:
            size = int.from_bytes(data[begin : begin + extended], "big")
            begin += extended
        begin += 4 if self._masked else 0
        if begin > len(data):
            return None
        if size >> 63:
            raise FrameError("a length with its highest bit set")
        return opcode, final, begin, size


def opcode_of(number: int) -> Opcode:
    """Raises FrameError: there is none of this number."""
    try:
        return Opcode(number)
    except ValueError:
        raise FrameError(f"opcode {number}") from None


def masked(data: bytes, key: bytes | None, at: int) -> bytes:
    """RFC 6455 5.3; `at`: position of `data` in its payload.  As one large number, since bytes one by one take long."""
    if key is None or not data:
        return data
    size = len(data)
    turned = key[at % 4 :] + key[: at % 4]
    stream = (turned * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(size, "little")
