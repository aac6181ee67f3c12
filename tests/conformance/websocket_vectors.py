"""What RFC 6455 and RFC 7692 ask of who reads and who writes a WebSocket, as bytes, and an own reader of both.

Every vector is what one end sends after the handshake.  It is a function of the direction, since only the client masks.
Nothing here is the proxy's: frames are made and read by hand, payloads deflated and inflated by zlib.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTROLS = (CLOSE, PING, PONG)
KEY = b"\x37\xfa\x21\x3d"
TAIL = b"\x00\x00\xff\xff"
DEFLATE = "permessage-deflate"
NO_TAKEOVER = f"{DEFLATE}; server_no_context_takeover; client_no_context_takeover"
Message = tuple[int, bytes]
"""Opcode and payload, put together and inflated."""


def frame(masks: bool, opcode: int, payload: bytes = b"", *, final: bool = True, rsv: int = 0, size: int = -1) -> bytes:
    """`rsv`: the three reserved bits, RSV1 is 4.  `size`: that it says, if that is not the payload's."""
    size = len(payload) if size < 0 else size
    head, bit = bytes(((0x80 if final else 0) | rsv << 4 | opcode,)), 0x80 if masks else 0
    if size < 126:
        head += bytes((bit | size,))
    elif size < 1 << 16:
        head += bytes((bit | 126,)) + size.to_bytes(2, "big")
    else:
        head += bytes((bit | 127,)) + size.to_bytes(8, "big")
    return head + (KEY + xor(payload) if masks else payload)


def xor(payload: bytes, key: bytes = KEY) -> bytes:
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def in_parts(masks: bool, opcode: int, *parts: bytes, between: bytes = b"", rsv: int = 0) -> bytes:
    """A message in a frame for each part, and `between` before each but the first."""
    data = b""
    for at, part in enumerate(parts):
        data += (between if at else b"") + frame(
            masks, 0 if at else opcode, part, final=at == len(parts) - 1, rsv=0 if at else rsv
        )
    return data


class Deflater:
    """One direction of an end that has agreed to permessage-deflate."""

    def __init__(self, bits: int = 15, *, takes_over: bool = True) -> None:
        self._bits, self._takes_over = bits, takes_over
        self._zlib = zlib.compressobj(9, zlib.DEFLATED, -bits)

    def __call__(self, payload: bytes) -> bytes:
        data = self._zlib.compress(payload) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        if not self._takes_over:
            self._zlib = zlib.compressobj(9, zlib.DEFLATED, -self._bits)
        return data.removesuffix(TAIL)


class Ear:
    """Reads what an end receives, and holds it to what was agreed: window and takeover are those of its inflater."""

    def __init__(self, *, masked: bool, bits: int | None = None, takes_over: bool = True) -> None:
        self._masked, self._bits, self._takes_over = masked, bits, takes_over
        self._zlib = zlib.decompressobj(-(bits or 15))
        self._data = b""
        self._message: tuple[int, bool, bytes] | None = None

    def feed(self, data: bytes) -> Iterator[Message]:
        self._data += data
        while (one := self._frame()) is not None:
            first, payload = one
            opcode, final, compressed = first & 15, bool(first & 0x80), bool(first & 0x40)
            assert not first & 0x30 and (self._bits is not None or not compressed), "reserved bits"
            if opcode in CONTROLS:
                assert final and len(payload) <= 125 and not compressed
                yield opcode, payload
                continue
            assert (opcode == 0) == (self._message is not None), "fragments out of order"
            if self._message is None:
                self._message = opcode, compressed, b""
            kind, was_compressed, before = self._message
            self._message = kind, was_compressed, before + payload
            if final:
                whole, self._message = self._message[2], None
                yield kind, self._inflated(whole) if was_compressed else whole

    def _inflated(self, data: bytes) -> bytes:
        data = self._zlib.decompress(data + TAIL)
        if not self._takes_over:
            self._zlib = zlib.decompressobj(-(self._bits or 15))
        return data

    def _frame(self) -> tuple[int, bytes] | None:
        data, at = self._data, 2
        if len(data) < 2:
            return None
        assert bool(data[1] & 0x80) == self._masked, "masked by the server, or not by the client"
        size = data[1] & 0x7F
        extended = {126: 2, 127: 8}.get(size, 0)
        if extended:
            size, at = int.from_bytes(data[2 : 2 + extended], "big"), 2 + extended
        key = data[at : at + 4] if self._masked else bytes(4)
        at += 4 if self._masked else 0
        if len(data) < at + size:
            return None
        self._data = data[at + size :]
        payload = data[at : at + size]
        return data[0], xor(payload, key) if size < 1000 else _xor_fast(payload, key)


def _xor_fast(payload: bytes, key: bytes) -> bytes:
    stream = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(payload), "big")


@dataclass(frozen=True)
class Vector:
    name: str
    frames: Callable[[bool], bytes]
    """What an end sends; True: it is the client, and masks."""
    wants: tuple[Message, ...] = ()
    """What the other end is to get of it."""
    code: int | None = None
    """It breaks a rule: what both ends are to be told, after `wants`."""
    extensions: str = ""


def allowed(name: str, frames: Callable[[bool], bytes], *wants: Message, extensions: str = "") -> Vector:
    return Vector(name, frames, wants, None, extensions)


def refused(name: str, frames: Callable[[bool], bytes], code: int = 1002, extensions: str = "") -> Vector:
    """Between a good message and one that must not arrive any more."""
    return Vector(
        name,
        lambda m: frame(m, TEXT, b"good") + frames(m) + frame(m, TEXT, b"late"),
        ((TEXT, b"good"),),
        code,
        extensions,
    )


def one(name: str, opcode: int, payload: bytes) -> Vector:
    return allowed(name, lambda m: frame(m, opcode, payload), (opcode, payload))


def cut(name: str, opcode: int, payload: bytes, size: int) -> Vector:
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    return allowed(name, lambda m: in_parts(m, opcode, *parts), (opcode, payload))


def bad(
    name: str, opcode: int, payload: bytes = b"x", code: int = 1002, *, rsv: int = 0, extensions: str = ""
) -> Vector:
    return refused(name, lambda m: frame(m, opcode, payload, rsv=rsv), code, extensions)


def bad_parts(name: str, opcode: int) -> Vector:
    return refused(name, lambda m: in_parts(m, opcode, b"a", b"b"))


def close(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


CHARACTERS = "κόσμε ÿ ￿ \U00010000 \U0010ffff \x00 ퟿ ".encode()
BAD_TEXTS = {
    "a lone continuation byte": b"a\x80b",
    "two lone ones": b"\x80\xbf",
    "a cut sequence of two": b"\xce",
    "a cut sequence of three": b"\xe1\xbd",
    "a cut sequence of four": b"\xf0\x9f\x98",
    "a cut sequence within": b"\xe1\xbdabc",
    "a slash in two bytes": b"\xc0\xaf",
    "a slash in three": b"\xe0\x80\xaf",
    "a slash in four": b"\xf0\x80\x80\xaf",
    "the largest that is too long in two": b"\xc1\xbf",
    "the largest that is too long in three": b"\xe0\x9f\xbf",
    "the largest that is too long in four": b"\xf0\x8f\xbf\xbf",
    "a sequence of five": b"\xf8\x88\x80\x80\x80",
    "a sequence of six": b"\xfc\x84\x80\x80\x80\x80",
    "half a pair": b"\xed\xa0\x80",
    "the other half": b"\xed\xbf\xbf",
    "both halves": b"\xed\xa0\x80\xed\xb0\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "0xfe": b"\xfe",
    "0xff": b"\xff",
}
SIZES = (0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 200_000)
HELLO_TWICE = b"Hello, Hello! " * 40


def deflated(
    *texts: bytes, extensions: str = DEFLATE, bits: int = 15, takes_over: bool = True
) -> tuple[Callable[[bool], bytes], tuple[Message, ...], str]:
    """Frames of a message each, what is to arrive, and the extensions."""

    def frames(masks: bool) -> bytes:
        deflate = Deflater(bits, takes_over=takes_over)
        return b"".join(frame(masks, TEXT, deflate(text), rsv=4) for text in texts)

    return frames, tuple((TEXT, text) for text in texts), extensions


def compressed(name: str, made: tuple[Callable[[bool], bytes], tuple[Message, ...], str]) -> Vector:
    return Vector(f"7692 {name}", made[0], made[1], None, made[2])


def final_block(payload: bytes) -> bytes:
    zipper = zlib.compressobj(9, zlib.DEFLATED, -15)
    return zipper.compress(payload) + zipper.flush(zlib.Z_FINISH)


ALLOWED = [
    *(one(f"5.2 a text of {size} bytes", TEXT, b"t" * size) for size in SIZES),
    *(one(f"5.2 {size} bytes", BINARY, bytes(at % 251 for at in range(size))) for size in SIZES),
    allowed("5.2 a length in more bytes than it needs", lambda m: bytes((0x81, 254 if m else 126)) + b"\0\2"
            + (KEY + xor(b"hi") if m else b"hi"), (TEXT, b"hi")),
    allowed("5.4 two fragments", lambda m: in_parts(m, TEXT, b"one, ", b"two"), (TEXT, b"one, two")),
    allowed("5.4 empty fragments", lambda m: in_parts(m, TEXT, b"", b"", b""), (TEXT, b"")),
    allowed("5.4 an empty fragment within", lambda m: in_parts(m, BINARY, b"a", b"", b"b"), (BINARY, b"ab")),
    allowed("5.4 a hundred fragments", lambda m: in_parts(m, BINARY, *[b"x" * 9] * 100), (BINARY, b"x" * 900)),
    allowed("5.4 two messages in fragments", lambda m: in_parts(m, TEXT, b"a", b"b") + in_parts(m, BINARY, b"c", b"d"),
            (TEXT, b"ab"), (BINARY, b"cd")),
    allowed("5.4 control frames between fragments", lambda m: in_parts(
        m, TEXT, b"a", b"b", b"c", between=frame(m, PING, b"now") + frame(m, PONG)),
        (PING, b"now"), (PONG, b""), (PING, b"now"), (PONG, b""), (TEXT, b"abc")),
    one("5.5.1 a close frame of nothing", CLOSE, b""),
    *(one(f"5.5.1 a close frame of {code}", CLOSE, close(code))
      for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 3999, 4000, 4999)),
    one("5.5.1 the longest reason", CLOSE, close(1000, b"r" * 123)),
    one("5.5.1 a reason in other letters", CLOSE, close(1000, "κόσμε".encode())),
    allowed("5.5.1 frames behind a close frame", lambda m: frame(m, CLOSE, close(1000)) + frame(m, TEXT, b"late"),
            (CLOSE, close(1000))),
    allowed("5.5.1 junk behind a close frame", lambda m: frame(m, CLOSE, close(1000)) + b"\xff" * 50,
            (CLOSE, close(1000))),
    # A close frame passes as it is: who gets it judges it, as if nobody stood between.
    *(one(f"7.4 a close frame of {code}, which nobody may send", CLOSE, close(code))
      for code in (0, 999, 1004, 1005, 1006, 1015, 1100, 2999, 5000, 65535)),
    one("7.4 half a code", CLOSE, b"\x03"),
    one("8.1 a reason that is no text", CLOSE, close(1000, b"\xc0\xaf")),
    one("5.5.2 a ping of nothing", PING, b""),
    one("5.5.2 the longest ping", PING, bytes(range(125))),
    allowed("5.5.2 ten pings", lambda m: b"".join(frame(m, PING, bytes((at,))) for at in range(10)),
            *((PING, bytes((at,))) for at in range(10))),
    one("5.5.3 a pong that nobody asked for", PONG, b"unasked"),
    one("8.1 characters of all sizes", TEXT, CHARACTERS),
    *(cut(f"8.1 characters cut after {size} bytes", TEXT, CHARACTERS, size) for size in (1, 2, 3)),
    *(one(f"8.1 {name}, but in bytes", BINARY, payload) for name, payload in list(BAD_TEXTS.items())[:3]),
    compressed("a message", deflated(HELLO_TWICE)),
    compressed("a message of nothing", deflated(b"", b"", b"a")),
    compressed("messages that refer to those before", deflated(HELLO_TWICE, HELLO_TWICE, b"Hello! ", HELLO_TWICE)),
    compressed("messages that must not", deflated(HELLO_TWICE, HELLO_TWICE, extensions=NO_TAKEOVER, takes_over=False)),
    *(compressed(f"a window of {bits} bits", deflated(
        bytes(range(97, 123)) * 200, bytes(range(97, 123)) * 200, bits=bits,
        extensions=f"{DEFLATE}; server_max_window_bits={bits}; client_max_window_bits={bits}"))
      for bits in (9, 10, 12, 15)),
    compressed("a window in quotes", deflated(
        HELLO_TWICE, bits=10, extensions=f'{DEFLATE}; server_max_window_bits="10"; client_max_window_bits="10"')),
    compressed("a long message", deflated(b"0123456789abcdef" * 100_000)),
    allowed("7692 6 a plain message among others", lambda m: frame(m, TEXT, b"plain")
            + deflated(b"deflated")[0](m) + frame(m, BINARY, b"plain"),
            (TEXT, b"plain"), (TEXT, b"deflated"), (BINARY, b"plain"), extensions=DEFLATE),
    allowed("7692 6.1 fragments of a compressed message", lambda m: in_parts(
        m, TEXT, *(Deflater()(HELLO_TWICE)[at : at + 5] for at in range(0, 40, 5)), between=frame(m, PING), rsv=4),
        *((PING, b""),) * 7, (TEXT, HELLO_TWICE), extensions=DEFLATE),
    allowed("7692 7.2.3.4 a final block", lambda m: frame(m, TEXT, final_block(b"Hello") + b"\0", rsv=4),
            (TEXT, b"Hello"), extensions=DEFLATE),
    allowed("7692 7.2.3.5 two blocks", lambda m: frame(
        m, TEXT, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", rsv=4),
        (TEXT, b"Hello"), extensions=DEFLATE),
    allowed("7692 7.2.3.3 a stored block", lambda m: frame(m, TEXT, b"\x00\x05\x00\xfa\xffHello\x00", rsv=4),
            (TEXT, b"Hello"), extensions=DEFLATE),
    allowed("7692 7.2.3.6 a message of nothing in a byte", lambda m: frame(m, TEXT, b"\0", rsv=4),
            (TEXT, b""), extensions=DEFLATE),
]  # fmt: skip

REFUSED = [
    *(bad(f"5.2 reserved bits {rsv:03b}", TEXT, rsv=rsv) for rsv in range(1, 8)),
    *(bad(f"5.2 reserved bits {rsv:03b} of a ping", PING, rsv=rsv) for rsv in (1, 4)),
    bad("5.2 reserved bits of a close frame", CLOSE, close(1000), rsv=7),
    *(bad(f"5.2 opcode {opcode}", opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    refused("5.2 a length with its highest bit set",
            lambda m: bytes((0x82, 255 if m else 127)) + b"\x80" + bytes(7) + (KEY if m else b"")),
    refused("5.1 a mask where none may be, or none where one must be", lambda m: frame(not m, TEXT, b"x")),
    refused("5.4 the rest of no message", lambda m: frame(m, 0, b"x")),
    refused("5.4 the rest of no message, with more to come", lambda m: frame(m, 0, b"x", final=False)),
    refused("5.4 a message within a message", lambda m: frame(m, TEXT, b"a", final=False) + frame(m, TEXT, b"b")),
    refused("5.4 a second beginning",
            lambda m: frame(m, TEXT, b"a", final=False) + frame(m, BINARY, b"b", final=False)),
    Vector("5.4 the rest of a message that has ended",
           lambda m: in_parts(m, TEXT, b"a", b"b") + frame(m, 0, b"c"), ((TEXT, b"ab"),), 1002),
    *(bad_parts(f"5.5 a control frame {opcode} in parts", opcode) for opcode in CONTROLS),
    *(bad(f"5.5 a control frame {opcode} of 126 bytes", opcode, bytes(126)) for opcode in CONTROLS),
    *(bad(f"8.1 {name}", TEXT, text, 1007) for name, text in BAD_TEXTS.items()),
    *(bad(f"8.1 {name}, compressed", TEXT, Deflater()(text), 1007, rsv=4, extensions=DEFLATE)
      for name, text in list(BAD_TEXTS.items())[::4]),
    refused("8.1 a character that another one cuts", lambda m: in_parts(m, TEXT, b"\xe1", b"\xbd", b"x"), 1007),
    refused("8.1 no text, in a message without an end", lambda m: frame(m, TEXT, b"a\xff", final=False), 1007),
    bad("7692 5 a compressed ping", PING, Deflater()(b"x"), rsv=4, extensions=DEFLATE),
    refused("7692 6.1 the bit in the second fragment", lambda m: frame(m, TEXT, b"", final=False, rsv=4)
            + frame(m, 0, Deflater()(b"x"), rsv=4), 1002, DEFLATE),
    bad("7692 7.2.2 no deflated data", TEXT, b"\xff\xff\xff\xff", rsv=4, extensions=DEFLATE),
    Vector("7692 7.1.1 a reference to a message before, against what was agreed",
           deflated(HELLO_TWICE, HELLO_TWICE)[0], ((TEXT, HELLO_TWICE),), 1002, NO_TAKEOVER),
    bad("7692 4 a compressed message that nobody agreed to", TEXT, Deflater()(b"x"), rsv=4),
]  # fmt: skip
