"""What RFC 9113 and RFC 7541 forbid a server and allow it, as frames, and what the proxy must make of each.

Every vector is what an origin says on stream 1 and beside it, after an empty SETTINGS, when it has read the whole
request.  `Vector.wants` are the error codes of a GOAWAY or, if `stream` is given, of its RST_STREAM, to the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.http2_vectors import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITY,
    E,
    Fields,
    K,
    Vector,
    block,
    connection,
    data,
    headers,
    number,
    raw_headers,
    reset,
    stream,
)

from pointsman.wire.http2_messages import write_frame, write_settings

OK: Fields = [(b":status", b"200")]
STATUS = block(OK)
OPEN = headers(1, OK, end=False)
WHOLE = headers(1, OK)


def answer(name: str, fields: Fields, *, end: bool = True) -> Vector:
    return stream(f"8.1 {name}", headers(1, fields, end=end))


CONNECTION_ERRORS = [
    connection("4.2 DATA larger than announced", OPEN + data(1, bytes(16385)), E.FRAME_SIZE_ERROR),
    connection("4.2 HEADERS larger than announced", raw_headers(block([*OK, (b"x", b"v" * 16385)])),
               E.FRAME_SIZE_ERROR),
    connection("4.2 a frame unknown larger than announced", write_frame(0xEE, 0, 0, bytes(16385)), E.FRAME_SIZE_ERROR),
    connection("4.3 a block that is no HPACK", raw_headers(b"\x40"), E.COMPRESSION_ERROR),
    connection("4.3 trailers that are no HPACK", OPEN + raw_headers(b"\x40"), E.COMPRESSION_ERROR),
    connection("4.3 a block interrupted by DATA", headers(1, OK, flags=0, end=False) + data(1)),
    connection("4.3 a block interrupted by PRIORITY",
               headers(1, OK, flags=0) + write_frame(K.PRIORITY, 0, 1, bytes(5))),
    connection("4.3 a block interrupted by a frame unknown", headers(1, OK, flags=0) + write_frame(0xEE, 0, 0)),
    connection("5.1 HEADERS of an idle stream", headers(7, OK)),
    connection("5.1 HEADERS of a stream of its own", headers(2, OK)),
    connection("5.1 DATA of an idle stream", data(7)),
    connection("5.1 RST_STREAM of an idle stream", reset(7)),
    connection("5.1 WINDOW_UPDATE of an idle stream", write_frame(K.WINDOW_UPDATE, 0, 7, number(1))),
    connection("5.1 CONTINUATION of nothing", write_frame(K.CONTINUATION, 4, 1, STATUS)),
    connection("5.1 DATA after its own RST_STREAM", reset(1) + data(1), E.STREAM_CLOSED),
    connection("5.1 HEADERS after its own RST_STREAM", reset(1) + WHOLE, E.STREAM_CLOSED),
    connection("5.1 DATA after the end", OPEN + data(1, end=True) + data(1), E.STREAM_CLOSED),
    connection("5.1 HEADERS after the end", WHOLE + WHOLE, E.STREAM_CLOSED),
    connection("6.1 DATA of stream 0", data(0)),
    connection("6.1 DATA with more padding than frame", OPEN + write_frame(K.DATA, PADDED, 1, b"\x06hello")),
    connection("6.2 HEADERS of stream 0", headers(0, OK)),
    connection("6.2 HEADERS with more padding than frame",
               raw_headers(bytes([len(STATUS) + 1]) + STATUS, PADDED | END_STREAM | END_HEADERS)),
    connection("6.2 HEADERS with half a priority", raw_headers(b"\0\0", PRIORITY | END_STREAM | END_HEADERS),
               E.FRAME_SIZE_ERROR),
    connection("6.3 PRIORITY of stream 0", write_frame(K.PRIORITY, 0, 0, bytes(5))),
    connection("6.3 PRIORITY of another size", write_frame(K.PRIORITY, 0, 1, bytes(4)), E.FRAME_SIZE_ERROR),
    connection("6.4 RST_STREAM of stream 0", reset(0)),
    connection("6.4 RST_STREAM of another size", write_frame(K.RST_STREAM, 0, 1, bytes(3)), E.FRAME_SIZE_ERROR),
    connection("6.5 SETTINGS ACK that says more", write_frame(K.SETTINGS, ACK, 0, bytes(6)), E.FRAME_SIZE_ERROR),
    connection("6.5 SETTINGS of a stream", write_frame(K.SETTINGS, 0, 1)),
    connection("6.5 SETTINGS of half a setting", write_frame(K.SETTINGS, 0, 0, bytes(5)), E.FRAME_SIZE_ERROR),
    connection("6.5.2 ENABLE_PUSH of a server", write_settings([(2, 1)])),
    connection("6.5.2 INITIAL_WINDOW_SIZE 2**31", write_settings([(4, 1 << 31)]), E.FLOW_CONTROL_ERROR),
    connection("6.5.2 MAX_FRAME_SIZE 16383", write_settings([(5, 16383)])),
    connection("6.5.2 MAX_FRAME_SIZE 2**24", write_settings([(5, 1 << 24)])),
    connection("8441 ENABLE_CONNECT_PROTOCOL 2", write_settings([(8, 2)])),
    connection("8441 ENABLE_CONNECT_PROTOCOL taken back", write_settings([(8, 1)]) + write_settings([(8, 0)])),
    connection("6.6 PUSH_PROMISE that we refused", write_frame(K.PUSH_PROMISE, 4, 1, number(2) + b"\x82")),
    connection("6.7 PING of a stream", write_frame(K.PING, 0, 1, bytes(8))),
    connection("6.7 PING of another size", write_frame(K.PING, 0, 0, bytes(6)), E.FRAME_SIZE_ERROR),
    connection("6.8 GOAWAY of a stream", write_frame(K.GOAWAY, 0, 1, bytes(8))),
    connection("6.8 half a GOAWAY", write_frame(K.GOAWAY, 0, 0, bytes(7)), E.FRAME_SIZE_ERROR),
    connection("6.9 WINDOW_UPDATE of nothing", write_frame(K.WINDOW_UPDATE, 0, 0, number(0))),
    connection("6.9 WINDOW_UPDATE of another size", write_frame(K.WINDOW_UPDATE, 0, 0, bytes(3)), E.FRAME_SIZE_ERROR),
    connection("6.9.1 the connection's window beyond 2**31-1",
               write_frame(K.WINDOW_UPDATE, 0, 0, number((1 << 31) - 1)), E.FLOW_CONTROL_ERROR),
    connection("6.9 more than the window lets", OPEN + data(1, bytes(16384)) * 48, E.FLOW_CONTROL_ERROR),
    connection("6.10 CONTINUATION of another stream", headers(1, OK, flags=0) + write_frame(K.CONTINUATION, 4, 3)),
    connection("6.10 CONTINUATION after the end of a block", OPEN + write_frame(K.CONTINUATION, 4, 1)),
    connection("HPACK 2.3.3 an index beyond the tables", raw_headers(STATUS + b"\xff\x7f"), E.COMPRESSION_ERROR),
    connection("HPACK 4.2 a table resized after a field", raw_headers(STATUS + b"\x20"), E.COMPRESSION_ERROR),
    connection("HPACK 5.2 padding of more than 7 bits", raw_headers(STATUS + b"\x00\x85\xf2\xb2\x4a\x84\xff\x81x"),
               E.COMPRESSION_ERROR),
    connection("HPACK 6.1 index 0", raw_headers(STATUS + b"\x80"), E.COMPRESSION_ERROR),
    connection("HPACK 6.3 a table larger than announced", raw_headers(b"\x3f\xe2\x1f" + STATUS), E.COMPRESSION_ERROR),
]  # fmt: skip

STREAM_ERRORS = [
    stream("6.9 WINDOW_UPDATE of nothing for a stream", write_frame(K.WINDOW_UPDATE, 0, 1, number(0))),
    stream("6.9.1 a stream's window beyond 2**31-1", write_frame(K.WINDOW_UPDATE, 0, 1, number((1 << 31) - 1)),
           E.FLOW_CONTROL_ERROR),
    stream("8.1 a body before the head", data(1, end=True)),
    stream("8.1 trailers that do not end the stream", OPEN + headers(1, [(b"x", b"y")], end=False)),
    stream("8.1 a pseudo field in trailers", OPEN + headers(1, OK)),
    stream("8.1 an interim answer that ends", headers(1, [(b":status", b"103")])),
    stream("8.1 an interim answer after the final one", OPEN + headers(1, [(b":status", b"103")], end=False)),
    stream("8.1.1 less body than announced",
           headers(1, [*OK, (b"content-length", b"2")], end=False) + data(1, end=True)),
    stream("8.1.1 more body than announced", headers(1, [*OK, (b"content-length", b"1")], end=False)
           + data(1, b"xy", end=True)),
    stream("8.1.1 no body where one was announced", headers(1, [*OK, (b"content-length", b"1")])),
    stream("8.1.1 a body with 204", headers(1, [(b":status", b"204")], end=False) + data(1, end=True)),
    stream("8.1.1 a body with 304", headers(1, [(b":status", b"304")], end=False) + data(1, end=True)),
    answer("two lengths", [*OK, (b"content-length", b"0"), (b"content-length", b"0")]),
    answer("a length that is none", [*OK, (b"content-length", b"1x")], end=False),
    answer("no status", [(b"x", b"y")]),
    answer("two of them", [*OK, *OK]),
    *(answer(f"a status {status}", [(b":status", status.encode())])
      for status in ("", "20", "2000", "abc", "099", "101", "+20", "2 0")),
    answer("a request's pseudo field", [*OK, (b":path", b"/")]),
    answer("an unknown pseudo field", [*OK, (b":test", b"1")]),
    answer("a pseudo field after others", [(b"x", b"y"), *OK]),
    answer("an upper-case name", [*OK, (b"X-Upper", b"1")]),
    answer("an empty name", [*OK, (b"", b"1")]),
    answer("a name with a space", [*OK, (b"x y", b"1")]),
    *(answer(f"a value with 0x{byte:02x}", [*OK, (b"x", b"a" + bytes((byte,)) + b"b")]) for byte in (0, 10, 13)),
    answer("a value that begins with a space", [*OK, (b"x", b" a")]),
    *(answer(f"{name}", [*OK, (name.encode(), b"1")])
      for name in ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")),
]  # fmt: skip


@dataclass(frozen=True)
class Allowed:
    frames: bytes
    status: bytes = b"200"
    body: bytes = b""
    method: bytes = b"GET"


ALLOWED = {
    "4.1 a frame of a kind unknown": Allowed(write_frame(0xEE, 0xFF, 7, b"x" * 100) + WHOLE),
    "4.1 the reserved bit": Allowed(raw_headers(STATUS, stream=1 | 1 << 31)),
    "4.2 a frame of the largest size": Allowed(OPEN + data(1, b"x" * 16384, end=True), body=b"x" * 16384),
    "4.3 a block in many frames": Allowed(
        write_frame(K.HEADERS, END_STREAM, 1) + b"".join(write_frame(K.CONTINUATION, 0, 1) for _ in range(20))
        + write_frame(K.CONTINUATION, END_HEADERS, 1, STATUS)),
    "5.1 PRIORITY of an idle stream": Allowed(write_frame(K.PRIORITY, 0, 9, bytes(5)) + WHOLE),
    "6.1 padding": Allowed(OPEN + write_frame(K.DATA, PADDED | END_STREAM, 1, b"\x03hey\0\0\0"), body=b"hey"),
    "6.1 DATA of padding alone": Allowed(OPEN + write_frame(K.DATA, PADDED, 1, b"\x02\0\0") + data(1, end=True),
                                         body=b"x"),
    "6.2 padding and priority": Allowed(
        raw_headers(b"\x02" + number(0) + b"\x0f" + STATUS + b"\0\0", PADDED | PRIORITY | END_STREAM | END_HEADERS)),
    "6.4 what is left of the request is not needed": Allowed(
        OPEN + data(1, end=True) + write_frame(K.RST_STREAM, 0, 1, number(0)), body=b"x"),
    "6.5 a setting unknown": Allowed(write_settings([(0xABC, 7)]) + WHOLE),
    "6.5 no push, said once more": Allowed(write_settings([(2, 0)]) + WHOLE),
    "6.5 extended CONNECT": Allowed(write_settings([(8, 1)]) + write_settings([(8, 1)]) + WHOLE),
    "6.5 no streams any more": Allowed(write_settings([(3, 0)]) + WHOLE),
    "6.7 PING ACK that nobody asked for": Allowed(write_frame(K.PING, ACK, 0, bytes(8)) + WHOLE),
    "6.8 GOAWAY, and then the answer": Allowed(
        write_frame(K.GOAWAY, 0, 0, number(1) + number(0)) + OPEN + data(1, end=True), body=b"x"),
    "6.8 two GOAWAYs, and then the answer": Allowed(
        write_frame(K.GOAWAY, 0, 0, number((1 << 31) - 1) + number(0))
        + write_frame(K.GOAWAY, 0, 0, number(1) + number(0) + b"why") + WHOLE),
    "7838 ALTSVC, 8336 ORIGIN": Allowed(
        write_frame(0xA, 0, 0, b"\0\1a" + b'h3=":443"') + write_frame(0xC, 0, 0, b"\0\1a") + WHOLE),
    "8.1 interim answers": Allowed(
        headers(1, [(b":status", b"103"), (b"link", b"</x>")], end=False) * 3 + WHOLE),
    "8.1 trailers": Allowed(OPEN + data(1) + headers(1, [(b"x", b"y")]), body=b"x"),
    "8.1 trailers without a body": Allowed(OPEN + headers(1, [(b"x", b"y")])),
    "8.1 DATA of nothing": Allowed(OPEN + data(1, b"") * 5 + data(1, b"", end=True)),
    "8.1 an error": Allowed(headers(1, [(b":status", b"500")]), b"500"),
    "8.1.1 a length without a body, to HEAD": Allowed(
        headers(1, [*OK, (b"content-length", b"1000")]), method=b"HEAD"),
    "8.1.1 a length without a body, with 304": Allowed(
        headers(1, [(b":status", b"304"), (b"content-length", b"1000")]), b"304"),
    "8.1.1 204, ended by DATA of nothing": Allowed(
        headers(1, [(b":status", b"204")], end=False) + data(1, b"", end=True), b"204"),
    "HPACK 4.2 a table resized": Allowed(raw_headers(b"\x20\x3f\xe1\x1f" + STATUS)),
}  # fmt: skip
"""Each is a whole answer."""
