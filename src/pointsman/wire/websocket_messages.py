"""WebSocket messages read and written: masks, fragments and permessage-deflate undone and done (RFC 6455, RFC 7692).

Pure and incremental.  `websocket_frames` counts frames and copies nothing; here payloads come out, in pieces of a
bounded size however large a frame is or whatever a few compressed bytes stand for.
"""

from __future__ import annotations

import zlib
from codecs import utf_8_decode
from dataclasses import dataclass

from pointsman.wire.websocket_frames import CONTROL_LIMIT, FrameError, Opcode, masked, opcode_of

PIECE = 64 * 1024  # bytes of a payload that come out at once
_TAIL = b"\x00\x00\xff\xff"
_RSV1 = 0x40


class TextError(FrameError):
    """A text that is not UTF-8 (RFC 6455 8.1)."""

    code = 1007


@dataclass(frozen=True, slots=True)
class Deflate:
    """What the two ends have agreed on for one direction."""

    takes_over: bool = True
    """A message may refer to those before it."""
    window_bits: int = 15


@dataclass(frozen=True, slots=True)
class Piece:
    """Of a message."""

    is_text: bool
    data: bytes
    is_last: bool
    compressed: bool
    key: bytes | None
    """The mask it came with."""


@dataclass(frozen=True, slots=True)
class Control:
    opcode: Opcode
    payload: bytes
    key: bytes | None


def agreed(extensions: str) -> tuple[Deflate | None, Deflate | None]:
    """Of a response's Sec-WebSocket-Extensions: for the client's direction and for the server's; None: plain.

    Raises ValueError for extensions that nobody here knows.
    """
    parts = [part.strip().lower() for part in extensions.split(";")]
    if parts == [""]:
        return None, None
    if parts[0] != "permessage-deflate" or "," in extensions:
        raise ValueError(f"extensions {extensions[:100]!r}")
    values = dict(part.partition("=")[::2] for part in parts[1:])
    found = []
    for side in ("client", "server"):
        bits = values.get(f"{side}_max_window_bits", "").strip('" ') or "15"
        if not bits.isdigit() or not 8 <= int(bits) <= 15:
            raise ValueError(f"extensions {extensions[:100]!r}")
        found.append(Deflate(f"{side}_no_context_takeover" not in values, int(bits)))
    return found[0], found[1]


class MessageReader:
    def __init__(self, *, masked: bool, deflate: Deflate | None) -> None:
        self._masked = masked
        self._deflate = deflate
        self._inflater = zlib.decompressobj(-15)
        self._left = 0
        """Bytes of the payload of the frame that we are in."""
        self._at = 0
        """Bytes of it that were read."""
        self._final = True
        self._key: bytes | None = None
        self._begun = b""
        """The first bytes of a character of a text whose others have not come."""
        self._within = False
        """A frame."""
        self._opcode: Opcode | None = None
        """Of the message that we are in."""
        self._compressed = False
        self._pending = b""
        """Compressed bytes that were read and not inflated yet."""
        self._was_full = False
        """The last piece: zlib may keep some that it has read, with nothing pending here."""

    @property
    def has_more(self) -> bool:
        """Without another byte."""
        return self._was_full or bool(self._pending)

    def take(self, buffer: bytearray) -> Piece | Control | None:
        """The next thing from the front of `buffer`; None: more bytes are needed.  Raises FrameError."""
        while True:
            if not self._within:
                control = self._take_head(buffer)
                if control is not None or not self._within:
                    return control
            piece = self._take_payload(buffer)
            if piece is None or piece.data or piece.is_last:
                return piece

    def _take_head(self, buffer: bytearray) -> Control | None:
        if len(buffer) < 2:
            return None
        first, size = buffer[0], buffer[1] & 0x7F
        opcode, final = opcode_of(first & 0x0F), bool(first & 0x80)
        self._check_head(opcode, final, first, size, bool(buffer[1] & 0x80))
        extended = {126: 2, 127: 8}.get(size, 0)
        begin = 2 + extended + (4 if self._masked else 0)
        if len(buffer) < begin:
            return None
        if extended:
            size = int.from_bytes(buffer[2 : 2 + extended], "big")
            if size >> 63:
                raise FrameError("a length with its highest bit set")
        key = bytes(buffer[begin - 4 : begin]) if self._masked else None
        if opcode >= Opcode.CLOSE:
            if len(buffer) < begin + size:
                return None
            payload = masked(bytes(buffer[begin : begin + size]), key, 0)
            del buffer[: begin + size]
            return Control(opcode, payload, key)
        del buffer[:begin]
        if opcode is not Opcode.CONTINUATION:
            self._opcode, self._compressed = opcode, bool(first & _RSV1)
        self._within, self._left, self._at, self._final, self._key = True, size, 0, final, key
        return None

    def _check_head(self, opcode: Opcode, final: bool, first: int, size: int, is_masked: bool) -> None:
        if is_masked != self._masked:
            raise FrameError("masked by the server, or not by the client")
        if first & 0x30 or (first & _RSV1 and (self._deflate is None or opcode not in (Opcode.TEXT, Opcode.BINARY))):
            raise FrameError("reserved bits")
        if opcode >= Opcode.CLOSE:
            if not final or size > CONTROL_LIMIT:
                raise FrameError("a control frame in parts, or a long one")
        elif (opcode is Opcode.CONTINUATION) != (self._opcode is not None):
            raise FrameError("a message within a message, or the rest of none")

    def _take_payload(self, buffer: bytearray) -> Piece | None:
        size = 0 if self.has_more else min(self._left, PIECE, len(buffer))
        if self._left and not size and not self.has_more:
            return None
        data = b""
        if size:
            data = masked(bytes(memoryview(buffer)[:size]), self._key, self._at)
            del buffer[:size]
            self._left -= size
            self._at += size
        frame_ends = self._left == 0
        if self._compressed:
            data = self._inflate(data, ends=frame_ends and self._final)
        frame_ends = frame_ends and not self.has_more
        is_last = frame_ends and self._final
        if self._opcode is Opcode.TEXT:
            self._check_text(data, is_last=is_last)
        piece = Piece(self._opcode is Opcode.TEXT, data, is_last, self._compressed, self._key)
        self._within = not frame_ends
        if is_last:
            self._opcode = None
            if self._compressed and self._deflate is not None and not self._deflate.takes_over:
                self._inflater = zlib.decompressobj(-15)
        return piece

    def _check_text(self, data: bytes, *, is_last: bool) -> None:
        """At once and not when the message is whole: nobody should have to wait for the rest of what is none."""
        data = self._begun + data
        try:
            _, read = utf_8_decode(data, "strict", is_last)
        except UnicodeDecodeError as error:
            raise TextError("a text that is not UTF-8") from error
        self._begun = data[read:]

    def _inflate(self, data: bytes, *, ends: bool) -> bytes:
        source = self._pending if self.has_more else data + (_TAIL if ends else b"")
        try:
            result = self._inflater.decompress(source, PIECE)
        except zlib.error as error:
            raise FrameError(f"not deflated: {error}") from error
        if self._inflater.eof:  # a final block ends what came before it, not the message (RFC 7692 7.2.3.4)
            self._pending, self._inflater = self._inflater.unused_data, zlib.decompressobj(-15)
        else:
            self._pending = self._inflater.unconsumed_tail
        self._was_full = len(result) == PIECE
        return result


class MessageWriter:
    def __init__(self, *, masked: bool, deflate: Deflate | None) -> None:
        self._masked = masked
        # zlib writes no raw deflate with a window of 256 bytes; a message may always go plain (RFC 7692 6).
        self._deflate = deflate if deflate is not None and deflate.window_bits > 8 else None
        self._deflater = self._new_deflater()
        self._within = False

    def piece(self, piece: Piece) -> bytes:
        """A frame.  Pieces of a message that is sent in parts follow each other."""
        opcode = Opcode.CONTINUATION if self._within else Opcode.TEXT if piece.is_text else Opcode.BINARY
        compressed = piece.compressed and self._deflate is not None
        data = self._deflated(piece) if compressed else piece.data
        reserved = _RSV1 if compressed and not self._within else 0
        self._within = not piece.is_last
        return self._frame(opcode | reserved | (0x80 if piece.is_last else 0), data, piece.key)

    def control(self, control: Control) -> bytes:
        return self._frame(control.opcode | 0x80, control.payload, control.key)

    def _deflated(self, piece: Piece) -> bytes:
        assert self._deflater is not None, "asked for by the caller"
        data = self._deflater.compress(piece.data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        if piece.is_last:
            data = data.removesuffix(_TAIL)
            if self._deflate is not None and not self._deflate.takes_over:
                self._deflater = self._new_deflater()
        return data

    def _new_deflater(self) -> zlib._Compress | None:
        if self._deflate is None:
            return None
        return zlib.compressobj(6, zlib.DEFLATED, -self._deflate.window_bits)

    def _frame(self, first: int, payload: bytes, key: bytes | None) -> bytes:
        """`key`: the mask that the client itself has chosen for these bytes, which is as random as it made it."""
        key = (key or b"\0\0\0\0") if self._masked else None
        bit = 0x80 if self._masked else 0
        size = len(payload)
        if size < 126:
            head = bytes((first, bit | size))
        elif size < 65536:
            head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
        return head + (key or b"") + masked(payload, key, 0)
