"""What RFC 9113 and RFC 7541 forbid a client, as frames, and the error that each must bring.

Every vector is what comes after the preface and an empty SETTINGS.  `Vector.wants` are the error codes of a GOAWAY
(the connection ends) or, if `stream` is given, of its RST_STREAM (the connection goes on).  Where the RFCs leave a
choice, all that they allow are listed.
"""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.wire.hpack_encoder import Encoder
from pointsman.wire.http2_frames import FrameType
from pointsman.wire.http2_messages import ErrorCode, write_frame, write_settings

E = ErrorCode
K = FrameType
END_STREAM, END_HEADERS, PADDED, PRIORITY, ACK = 0x1, 0x4, 0x8, 0x20, 0x1
Fields = list[tuple[bytes, bytes]]
GET: Fields = [
    (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/hold"), (b":authority", b"www.example.com"),
]  # fmt: skip
POST: Fields = [(b":method", b"POST"), *GET[1:]]


def block(fields: Fields) -> bytes:
    return Encoder().encode(fields)


def headers(stream: int, fields: Fields = GET, *, end: bool = True, flags: int = END_HEADERS) -> bytes:
    return write_frame(K.HEADERS, flags | (END_STREAM if end else 0), stream, block(fields))


def raw_headers(payload: bytes, flags: int = END_STREAM | END_HEADERS, stream: int = 1) -> bytes:
    return write_frame(K.HEADERS, flags, stream, payload)


def data(stream: int, payload: bytes = b"x", *, end: bool = False) -> bytes:
    return write_frame(K.DATA, END_STREAM if end else 0, stream, payload)


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def reset(stream: int) -> bytes:
    return write_frame(K.RST_STREAM, 0, stream, number(E.CANCEL))


@dataclass(frozen=True)
class Vector:
    name: str
    frames: bytes
    wants: tuple[ErrorCode, ...]
    stream: int | None = None


def connection(name: str, frames: bytes, *wants: ErrorCode) -> Vector:
    return Vector(name, frames, wants or (E.PROTOCOL_ERROR,))


def stream(name: str, frames: bytes, *wants: ErrorCode, at: int = 1) -> Vector:
    return Vector(name, frames, wants or (E.PROTOCOL_ERROR,), at)


def malformed(name: str, fields: Fields) -> Vector:
    return stream(f"8.1 {name}", headers(1, fields))


def without(name: bytes) -> Fields:
    return without_of(GET, name)


def without_of(fields: Fields, name: bytes) -> Fields:
    return [field for field in fields if field[0] != name]


PLAIN = block(GET)
CONNECTION_ERRORS = [
    connection("4.2 a frame larger than announced", headers(1, POST, end=False) + data(1, bytes(16385)),
               E.FRAME_SIZE_ERROR),
    connection("4.2 HEADERS larger than announced",
               raw_headers(block([*POST, (b"x", b"v" * 16385)])), E.FRAME_SIZE_ERROR),
    connection("4.2 SETTINGS larger than announced", write_settings([(0xABC, 1)] * 2731), E.FRAME_SIZE_ERROR),
    connection("4.2 a frame unknown larger than announced", write_frame(0xEE, 0, 0, bytes(16385)), E.FRAME_SIZE_ERROR),
    connection("4.3 a block that is no HPACK", raw_headers(b"\x40"), E.COMPRESSION_ERROR),
    connection("4.3 a block interrupted by PRIORITY",
               headers(1, flags=0) + write_frame(K.PRIORITY, 0, 1, bytes(5)) + write_frame(K.CONTINUATION, 4, 1)),
    connection("4.3 a block interrupted by a frame unknown", headers(1, flags=0) + write_frame(0xEE, 0, 0, b"x")),
    connection("4.3 a block interrupted by other headers", headers(1, flags=0) + headers(3)),
    connection("5.1 DATA of an idle stream", data(1)),
    connection("5.1 RST_STREAM of an idle stream", reset(1)),
    connection("5.1 WINDOW_UPDATE of an idle stream", write_frame(K.WINDOW_UPDATE, 0, 1, number(1))),
    connection("5.1 CONTINUATION of an idle stream", write_frame(K.CONTINUATION, 4, 1, PLAIN)),
    connection("5.1 DATA of a stream that the client reset", headers(1, POST, end=False) + reset(1) + data(1),
               E.STREAM_CLOSED),
    connection("5.1 HEADERS of a stream that the client reset", headers(1, POST, end=False) + reset(1) + headers(1),
               E.STREAM_CLOSED),
    connection("5.1 CONTINUATION of a stream that the client reset",
               headers(1, POST, end=False) + reset(1) + write_frame(K.CONTINUATION, 4, 1, PLAIN)),
    connection("5.1 CONTINUATION of a stream half closed",
               headers(1) + write_frame(K.CONTINUATION, 4, 1, PLAIN), E.PROTOCOL_ERROR, E.STREAM_CLOSED),
    connection("5.1 HEADERS of a stream half closed", headers(1) + headers(1), E.STREAM_CLOSED),
    connection("5.1.1 an even stream", headers(2)),
    connection("5.1.1 a stream passed over", headers(5) + headers(3)),
    connection("6.1 DATA of stream 0", data(0)),
    connection("6.1 DATA with more padding than frame",
               headers(1, POST, end=False) + write_frame(K.DATA, PADDED, 1, b"\x06hello")),
    connection("6.1 padded DATA without room for the padding's length", headers(1, POST, end=False)
               + write_frame(K.DATA, PADDED, 1), E.FRAME_SIZE_ERROR, E.PROTOCOL_ERROR),
    connection("6.2 padded HEADERS without room for the padding's length",
               raw_headers(b"", PADDED | END_STREAM | END_HEADERS), E.FRAME_SIZE_ERROR, E.PROTOCOL_ERROR),
    connection("6.2 HEADERS of stream 0", headers(0)),
    connection("6.2 HEADERS with more padding than frame",
               raw_headers(bytes([len(PLAIN) + 1]) + PLAIN, PADDED | END_STREAM | END_HEADERS)),
    connection("6.2 HEADERS with half a priority", raw_headers(b"\0\0", PRIORITY | END_STREAM | END_HEADERS),
               E.FRAME_SIZE_ERROR),
    connection("6.3 PRIORITY of stream 0", write_frame(K.PRIORITY, 0, 0, bytes(5))),
    connection("6.3 PRIORITY of another size", headers(1) + write_frame(K.PRIORITY, 0, 1, bytes(4)),
               E.FRAME_SIZE_ERROR),
    connection("6.4 RST_STREAM of stream 0", reset(0)),
    connection("6.4 RST_STREAM of another size", headers(1) + write_frame(K.RST_STREAM, 0, 1, bytes(3)),
               E.FRAME_SIZE_ERROR),
    connection("6.5 SETTINGS ACK that says more", write_frame(K.SETTINGS, ACK, 0, bytes(6)), E.FRAME_SIZE_ERROR),
    connection("6.5 SETTINGS of a stream", write_frame(K.SETTINGS, 0, 1)),
    connection("6.5 SETTINGS of half a setting", write_frame(K.SETTINGS, 0, 0, bytes(5)), E.FRAME_SIZE_ERROR),
    connection("6.5.2 ENABLE_PUSH 2", write_settings([(2, 2)])),
    connection("6.5.2 INITIAL_WINDOW_SIZE 2**31", write_settings([(4, 1 << 31)]), E.FLOW_CONTROL_ERROR),
    connection("6.5.2 MAX_FRAME_SIZE 16383", write_settings([(5, 16383)])),
    connection("6.5.2 MAX_FRAME_SIZE 2**24", write_settings([(5, 1 << 24)])),
    connection("6.5.2 a wrong window that a good one follows", write_settings([(4, 1 << 31), (4, 100)]),
               E.FLOW_CONTROL_ERROR),
    connection("6.5.2 a wrong ENABLE_PUSH that a good one follows", write_settings([(2, 7), (2, 0)])),
    connection("8441 ENABLE_CONNECT_PROTOCOL 2", write_settings([(8, 2)])),
    connection("8441 ENABLE_CONNECT_PROTOCOL taken back", write_settings([(8, 1)]) + write_settings([(8, 0)])),
    connection("6.6 PUSH_PROMISE of a client", headers(1) + write_frame(K.PUSH_PROMISE, 4, 1, number(2) + PLAIN)),
    connection("6.7 PING of a stream", write_frame(K.PING, 0, 1, bytes(8))),
    connection("6.7 PING of another size", write_frame(K.PING, 0, 0, bytes(6)), E.FRAME_SIZE_ERROR),
    connection("6.8 GOAWAY of a stream", write_frame(K.GOAWAY, 0, 1, bytes(8))),
    connection("6.8 half a GOAWAY", write_frame(K.GOAWAY, 0, 0, bytes(7)), E.FRAME_SIZE_ERROR),
    connection("6.9 WINDOW_UPDATE of nothing", write_frame(K.WINDOW_UPDATE, 0, 0, number(0))),
    connection("6.9 WINDOW_UPDATE of another size", write_frame(K.WINDOW_UPDATE, 0, 0, bytes(3)), E.FRAME_SIZE_ERROR),
    connection("6.9.1 the connection's window beyond 2**31-1",
               write_frame(K.WINDOW_UPDATE, 0, 0, number((1 << 31) - 1)) * 2, E.FLOW_CONTROL_ERROR),
    connection("6.9.2 a setting that widens a stream beyond 2**31-1",
               headers(1) + write_frame(K.WINDOW_UPDATE, 0, 1, number((1 << 31) - 1 - 65535))
               + write_settings([(4, 65536)]), E.FLOW_CONTROL_ERROR),
    connection("6.10 CONTINUATION of stream 0", headers(1, flags=0) + write_frame(K.CONTINUATION, 4, 0)),
    connection("6.10 CONTINUATION of another stream", headers(1, flags=0) + write_frame(K.CONTINUATION, 4, 3)),
    connection("6.10 CONTINUATION after the end of a block", headers(1, POST, end=False)
               + write_frame(K.CONTINUATION, 4, 1)),
    connection("6.10 CONTINUATION after DATA", headers(1, POST, end=False) + data(1)
               + write_frame(K.CONTINUATION, 4, 1)),
    connection("HPACK 2.3.3 an index beyond the tables", raw_headers(PLAIN + b"\xff\x7f"), E.COMPRESSION_ERROR),
    connection("HPACK 2.3.3 an index of what was evicted", raw_headers(b"\x20" + PLAIN + b"\xbe"), E.COMPRESSION_ERROR),
    connection("HPACK 5.1 a number without an end", raw_headers(PLAIN + b"\xff" + b"\xff" * 12 + b"\x0f"),
               E.COMPRESSION_ERROR),
    connection("HPACK 5.2 a string longer than its block", raw_headers(PLAIN + b"\x00\x7fabc"), E.COMPRESSION_ERROR),
    connection("HPACK 4.2 a table resized after a field", raw_headers(PLAIN + b"\x20"), E.COMPRESSION_ERROR),
    connection("HPACK 5.2 padding of more than 7 bits", raw_headers(PLAIN + b"\x00\x85\xf2\xb2\x4a\x84\xff\x81x"),
               E.COMPRESSION_ERROR),
    connection("HPACK 5.2 padding that is not the end of string",
               raw_headers(PLAIN + b"\x00\x84\xf2\xb2\x4a\x80\x81\x00"), E.COMPRESSION_ERROR),
    connection("HPACK 5.2 the end of string in a string", raw_headers(PLAIN + b"\x00\x84\xff\xff\xff\xff\x01x"),
               E.COMPRESSION_ERROR),
    connection("HPACK 6.1 index 0", raw_headers(PLAIN + b"\x80"), E.COMPRESSION_ERROR),
    connection("HPACK 6.3 a table larger than announced", raw_headers(b"\x3f\xe2\x1f" + PLAIN), E.COMPRESSION_ERROR),
]  # fmt: skip

STREAM_ERRORS = [
    stream("5.1 DATA of a stream half closed", headers(1) + data(1), E.STREAM_CLOSED),
    stream("5.1.2 one stream too many",
           b"".join(headers(one) for one in range(1, 203, 2)), E.REFUSED_STREAM, E.PROTOCOL_ERROR, at=201),
    stream("6.9 WINDOW_UPDATE of nothing for a stream", headers(1) + write_frame(K.WINDOW_UPDATE, 0, 1, number(0))),
    stream("6.9.1 a stream's window beyond 2**31-1",
           headers(1) + write_frame(K.WINDOW_UPDATE, 0, 1, number((1 << 31) - 1)), E.FLOW_CONTROL_ERROR),
    stream("8.1 trailers that do not end the stream",
           headers(1, POST, end=False) + headers(1, [(b"x", b"y")], end=False)),
    stream("8.1 a pseudo field in trailers", headers(1, POST, end=False) + headers(1, [(b":method", b"GET")])),
    stream("8.1.1 less body than announced",
           headers(1, [*POST, (b"content-length", b"2")], end=False) + data(1, end=True)),
    stream("8.1.1 more body than announced",
           headers(1, [*POST, (b"content-length", b"1")], end=False) + data(1) + data(1, end=True)),
    stream("8.1.1 no body where one was announced", headers(1, [*POST, (b"content-length", b"5")])),
    *(stream(f"8.1.1 a length of {length}", headers(1, [*POST, (b"content-length", length.encode())], end=False))
      for length in ("+1", "-1", "1,1", "0x1", "1 1", "")),
    malformed("two lengths", [*GET, (b"content-length", b"0"), (b"content-length", b"1")]),
    malformed("an upper-case name", [*GET, (b"X-Upper", b"1")]),
    malformed("a name with a colon", [*GET, (b"x:y", b"1")]),
    malformed("a name with a space", [*GET, (b"x y", b"1")]),
    malformed("an empty name", [*GET, (b"", b"1")]),
    *(malformed(f"a name with 0x{byte:02x}", [*GET, (b"x" + bytes((byte,)), b"1")]) for byte in (0, 10, 13, 127, 255)),
    *(malformed(f"a value with 0x{byte:02x}", [*GET, (b"x", b"a" + bytes((byte,)) + b"b")]) for byte in (10, 13)),
    *(malformed(f"a value that ends with 0x{byte:02x}", [*GET, (b"x", b"a" + bytes((byte,)))]) for byte in (9, 10, 32)),
    malformed("a NUL in a value", [*GET, (b"x", b"a\0b")]),
    malformed("a line end in a value", [*GET, (b"x", b"a\r\nb: c")]),
    malformed("a value that begins with a space", [*GET, (b"x", b" a")]),
    malformed("an unknown pseudo field", [*GET, (b":test", b"1")]),
    malformed("a response's pseudo field", [*GET, (b":status", b"200")]),
    malformed("a pseudo field after others", [*GET[:3], (b"x", b"y"), GET[3]]),
    malformed("a connection field", [*GET, (b"connection", b"keep-alive")]),
    *(malformed(f"{name}", [*GET, (name.encode(), b"1")]) for name in ("keep-alive", "proxy-connection", "upgrade")),
    malformed("Transfer-Encoding", [*POST, (b"transfer-encoding", b"chunked")]),
    malformed("TE of another kind", [*GET, (b"te", b"trailers, deflate")]),
    malformed("an empty path", [*without(b":path"), (b":path", b"")]),
    malformed("no method", without(b":method")),
    malformed("no scheme", without(b":scheme")),
    malformed("no path", without(b":path")),
    malformed("two methods", [GET[0], *GET]),
    malformed("two schemes", [GET[1], *GET]),
    malformed("two paths", [GET[2], *GET]),
    malformed("another host than authority", [*GET, (b"host", b"evil.example")]),
    *(malformed(f"an authority {name}", [*GET[:3], (b":authority", b)]) for name, b in {
        "with a user": b"user@www.example.com", "with a space": b"www.example.com evil", "of nothing": b"",
        "with a path": b"www.example.com/x", "with a query": b"www.example.com?x"}.items()),
    malformed("no authority and no host", GET[:3]),
    malformed("a host with a user", [*GET[:3], (b"host", b"user@www.example.com")]),
    malformed("two hosts", [*GET[:3], (b"host", b"www.example.com"), (b"host", b"www.example.com")]),
    malformed("a path without a slash", [*without(b":path"), (b":path", b"hold")]),
    malformed("a path with a space", [*without(b":path"), (b":path", b"/ho ld")]),
    malformed("a protocol of another method", [*GET, (b":protocol", b"websocket")]),
    malformed("CONNECT without an authority", [(b":method", b"CONNECT")]),
    malformed("an extended CONNECT without a path", [(b":method", b"CONNECT"), (b":protocol", b"websocket"),
                                                     GET[1], GET[3]]),
    malformed("CONNECT with a path", [(b":method", b"CONNECT"), *GET[1:]]),
]  # fmt: skip

PAGE: Fields = [*without(b":path"), (b":path", b"/page")]
ALLOWED = {
    "4.1 a frame of a kind unknown": write_frame(0xEE, 0xFF, 7, b"x" * 100) + headers(1, PAGE),
    "4.1 flags unknown": write_frame(K.PING, 0x16, 0, bytes(8)) + headers(1, PAGE, flags=END_HEADERS | 0xC2),
    "4.1 the reserved bit": raw_headers(block(PAGE), stream=1 | 1 << 31),
    "4.2 a frame of the largest size": headers(1, [(b":method", b"POST"), *PAGE[1:]], end=False)
    + data(1, bytes(16384), end=True),
    "4.3 a block in many frames": write_frame(K.HEADERS, END_STREAM, 1)
    + b"".join(write_frame(K.CONTINUATION, 0, 1, block(PAGE)[at : at + 2]) for at in range(0, len(block(PAGE)), 2))
    + write_frame(K.CONTINUATION, END_HEADERS, 1),
    "5.1 PRIORITY of an idle stream": write_frame(K.PRIORITY, 0, 9, bytes(5)) + headers(1, PAGE),
    "5.1 late frames of a closed stream": headers(1, POST, end=False)
    + reset(1) + reset(1) + write_frame(K.WINDOW_UPDATE, 0, 1, number(1)) + headers(3, PAGE),
    "6.1 padding": headers(1, [(b":method", b"POST"), *PAGE[1:]], end=False)
    + write_frame(K.DATA, PADDED | END_STREAM, 1, b"\x03hey\0\0\0"),
    "6.2 padding and priority": raw_headers(
        b"\x02" + number(0) + b"\x0f" + block(PAGE) + b"\0\0", PADDED | PRIORITY | END_STREAM | END_HEADERS),
    "6.5 a setting unknown": write_settings([(0xABC, 7)]) + headers(1, PAGE),
    "6.5 SETTINGS ACK": write_frame(K.SETTINGS, ACK, 0) + headers(1, PAGE),
    "6.7 PING ACK that nobody asked for": write_frame(K.PING, ACK, 0, bytes(8)) + headers(1, PAGE),
    "6.9.2 a window of nothing, widened later": write_settings([(4, 0)]) + headers(1, PAGE)
    + write_settings([(4, 1)]) + write_settings([(4, 65535)]),
    "6.9.2 a window below nothing, widened later": write_settings([(4, 1)]) + headers(1, PAGE)
    + write_settings([(4, 0)]) + write_frame(K.WINDOW_UPDATE, 0, 1, number(1)) * 3,
    "6.5.3 a setting twice": write_settings([(4, 0), (4, 65535)]) + headers(1, PAGE),
    "6.5.2 no table": write_settings([(1, 0)]) + headers(1, PAGE),
    "6.5.2 a table of nothing that grows": write_settings([(1, 0), (1, 4096)]) + headers(1, PAGE),
    "6.5.2 a window of a byte at a time": write_settings([(4, 1)]) + headers(1, PAGE)
    + write_frame(K.WINDOW_UPDATE, 0, 1, number(1)) * 2,
    "6.5.2 the largest frame": write_settings([(5, (1 << 24) - 1)]) + headers(1, PAGE),
    "8441 ENABLE_CONNECT_PROTOCOL of a client": write_settings([(8, 1)]) + headers(1, PAGE),
    "5.5 frames unknown within a request": headers(1, [(b":method", b"POST"), *PAGE[1:]], end=False)
    + write_frame(0xEE, 0, 1, b"x") + data(1) + write_frame(0xEE, 0, 1) + data(1, end=True),
    "9218 a frame of PRIORITY_UPDATE": write_frame(0x10, 0, 0, number(1) + b"u=1") + headers(1, PAGE),
    "8.2.3 cookies in crumbs": headers(1, [*PAGE, (b"cookie", b"a=1"), (b"cookie", b"b=2")]),
    "8.3.1 a host without an authority": headers(1, [*without_of(PAGE, b":authority"), (b"host", b"www.example.com")]),
    "8.1 DATA of nothing": headers(1, [(b":method", b"POST"), *PAGE[1:]], end=False) + data(1, b"") * 3
    + data(1, b"", end=True),
    "7 error codes unknown": headers(1) + write_frame(K.RST_STREAM, 0, 1, number(0xFFFFFFFF)) + headers(3, PAGE),
    "8.1 TE: trailers": headers(1, [*PAGE, (b"te", b"trailers")]),
    "8.1 trailers": headers(1, [(b":method", b"POST"), *PAGE[1:]], end=False) + data(1)
    + headers(1, [(b"x", b"y")]),
    "HPACK 4.2 a table resized": raw_headers(b"\x20\x3f\xe1\x1f" + block(PAGE)),
}  # fmt: skip
"""Each with a request that must be answered with 200."""

AFTER = [
    connection("5.1 DATA of a stream that has ended", data(1), E.STREAM_CLOSED),
    connection("5.1 HEADERS of a stream that has ended", headers(1), E.STREAM_CLOSED),
    connection("5.1 CONTINUATION of a stream that has ended", write_frame(K.CONTINUATION, 4, 1, PLAIN),
               E.STREAM_CLOSED, E.PROTOCOL_ERROR),
    connection("5.1.1 a stream below it that was never opened", headers(5, PAGE) + headers(3)),
]  # fmt: skip
"""What comes when stream 1 was asked for /page and answered."""

ALLOWED_AFTER = {
    "5.1 WINDOW_UPDATE": write_frame(K.WINDOW_UPDATE, 0, 1, number(1)),
    "5.1 RST_STREAM": reset(1),
    "5.1 PRIORITY": write_frame(K.PRIORITY, 0, 1, bytes(5)),
    "5.5 a frame unknown": write_frame(0xEE, 0, 1, b"x"),
}
"""The same, where another stream must still be served."""
