"""Everything that reads bytes of strangers, each as a function of one input that asserts what must hold for any.

Two-sided targets read their input as a script: `\\xff>` begins a piece that the app sends, `\\xff<` one of the origin.
Beside "it raises nothing": however the pieces are cut, what is understood is the same; what comes out of a rebuild is
read in the same way by a strict reader that is not ours; and nothing grows beyond what came in.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from contextlib import suppress

import httptools
from hpack import Decoder as OtherDecoder
from hpack.exceptions import HPACKError
from tests.conformance.http2_vectors import ALLOWED, CONNECTION_ERRORS, GET, POST, STREAM_ERRORS, data, headers
from tests.engine.http2_world import context_of

from pointsman.engine.ambiguity import AmbiguousError
from pointsman.engine.commands import Send
from pointsman.engine.events import Side
from pointsman.engine.http1 import Http1Observer
from pointsman.engine.http2 import Http2Observer
from pointsman.engine.peek import Peek
from pointsman.engine.rebuild_http1 import Http1Rebuild
from pointsman.engine.rebuild_http2 import Http2Rebuild
from pointsman.engine.websocket import WebSocketObserver
from pointsman.errors import PointsmanError
from pointsman.policy.load import parse_policy
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig
from pointsman.testing.system import context_for
from pointsman.wire import http_connect, socks5
from pointsman.wire.abi import AbiError
from pointsman.wire.hpack import BLOCK_LIMIT, Decoder, HpackError
from pointsman.wire.http2_frames import END_STREAM, PREFACE
from pointsman.wire.http2_messages import write_frame, write_headers, write_settings
from pointsman.wire.proxy_error import ProxyError
from pointsman.wire.redirect_context import decode_redirect_context, encode_redirect_context
from pointsman.wire.websocket_frames import FrameError
from pointsman.wire.websocket_messages import PIECE, Control, Deflate, MessageReader, MessageWriter, Piece

Script = list[tuple[Side, bytes]]
Target = Callable[[bytes], None]
_INVALID_URL = httptools.HttpParserInvalidURLError
CUTS = (1, 7)  # bytes of a piece, beside the whole
_PIECE = re.compile(rb"\xff([<>])")


def script_of(data: bytes) -> Script:
    parts = _PIECE.split(data)
    script: Script = [(APP, parts[0])] if parts[0] else []
    for mark, piece in zip(parts[1::2], parts[2::2], strict=True):
        if piece:
            script.append((APP if mark == b">" else ORIGIN, piece))
    return script


def cut(script: Script, size: int) -> Script:
    return [(side, piece[at : at + size]) for side, piece in script for at in range(0, len(piece), size)]


def joined(*pieces: tuple[Side, bytes]) -> bytes:
    return b"".join((b"\xff>" if side is APP else b"\xff<") + piece for side, piece in pieces)


def peek(data: bytes) -> None:
    answers = []
    for size in (len(data) or 1, *CUTS):
        one, found = Peek(), None
        for at in range(0, len(data), size):
            found = one.receive(data[at : at + size], 0.0)
            if found is not None:
                assert found.held == data[: at + size]
                break
        answers.append((found.hello, found.head) if found is not None else (None, None))
    assert all(answer == answers[0] for answer in answers), answers


def http1_observer(data: bytes) -> None:
    told = []
    script = script_of(data)
    for pieces in (script, *(cut(script, size) for size in CUTS)):
        one, refused = Http1Observer(), False
        for side, piece in pieces:
            try:
                one.receive(side, piece, 0.0)
            except AmbiguousError:
                refused = True
                break
        one.cut(1.0, "cut")
        one.cut(1.0, "cut")
        done = one.take()
        told.append((refused, [(each.method, each.path, each.host, each.status) for each in done]))
        if not refused:
            for at, side in enumerate(Side):
                sent = sum(len(piece) for whose, piece in pieces if whose is side)
                counted = sum(each.bytes_up if side is APP else each.bytes_down for each in done)
                assert counted + one.untold()[at] == sent, "each byte belongs to one exchange, or to none yet"
    # Whether a lone LF follows a CRLF of the same request or of one before it in the same piece is told with caution.
    has_lone_lf = re.search(rb"(?<!\r)\n", data) is not None
    assert has_lone_lf or all(answer == told[0] for answer in told), told


class _Requests:
    """llhttp's reading of what an origin would get."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.bodies: list[bytes] = []
        self._url = b""
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self._url = b""

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_headers_complete(self) -> None:
        self.seen.append((self.parser.get_method(), self._url))
        self.bodies.append(b"")

    def on_body(self, part: bytes) -> None:
        self.bodies[-1] += part


def http1_rebuild(data: bytes) -> None:
    answers = []
    script = script_of(data)
    for pieces in (script, *(cut(script, size) for size in CUTS)):
        rebuild = Http1Rebuild(context_of('default = "intercept"', frozenset()))
        out = dict.fromkeys(Side, b"")
        commands = rebuild.start(0.0)
        for side, piece in pieces:
            if rebuild.failure is None and not rebuild.finished:
                commands += rebuild.receive(side, piece, 0.0)
        for command in commands:
            if isinstance(command, Send):
                out[command.side] += command.data
        rebuild.cut(1.0, "cut")
        requests = [(one.method, one.path, one.host, one.status) for one in rebuild.take()]
        reader = _Requests()
        if not any(one[0] == "CONNECT" or one[3] == 101 for one in requests):
            # llhttp knows no method of another name, and no target with bytes above 0x7f.
            with suppress(httptools.HttpParserUpgrade, httptools.HttpParserInvalidMethodError, _INVALID_URL):
                reader.parser.feed_data(out[ORIGIN])  # raises for what is no strict HTTP
            assert reader.seen == [] or len(reader.seen) <= len(requests)
        came = sum(len(piece) for _, piece in script)
        assert len(out[ORIGIN]) + len(out[APP]) <= 16 * came + 4096, "more than came in"
        answers.append((requests, reader.seen, b"".join(reader.bodies)))
    # An answer that comes before its request was passed on ends the connection; a cut may make it come in time.
    for parts in zip(*answers, strict=True):
        whole = max(parts, key=len)
        assert all(part == whole[: len(part)] for part in parts), answers


def http2_observer(data: bytes) -> None:
    told = []
    script = [(APP, PREFACE), *script_of(data)]
    for pieces in (script, *(cut(script, size) for size in CUTS)):
        one = Http2Observer()
        for side, piece in pieces:
            one.receive(side, piece, 0.0)
        one.cut(1.0, "cut")
        # A stream that the end has cut may be cut at another frame; what was whole is the same.
        told.append([(each.method, each.path, each.host, each.status) for each in one.take()])
    assert all(answer == told[0] for answer in told), told


def http2_rebuild(data: bytes) -> None:
    answers = []
    script = [(APP, PREFACE + write_settings([])), (ORIGIN, write_settings([])), *script_of(data)]
    for pieces in (script, *(cut(script, size) for size in CUTS)):
        rebuild = Http2Rebuild(context_of('default = "intercept"', frozenset()))
        out = dict.fromkeys(Side, b"")
        commands = rebuild.start(0.0)
        for side, piece in pieces:
            if rebuild.failure is None:
                commands += rebuild.receive(side, piece, 0.0)
        for command in commands:
            if isinstance(command, Send):
                out[command.side] += command.data
        rebuild.cut(1.0, "cut")
        answers.append(([(one.method, one.path, one.status, one.error) for one in rebuild.take()], rebuild.failure))
        read_by_h2(out)
    assert all(answer == answers[0] for answer in answers), answers


def read_by_h2(out: dict[Side, bytes]) -> None:
    """What went to the origin, as python-hyper reads it: it raises for what is against RFC 9113."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.exceptions import StreamClosedError

    origin = H2Connection(H2Configuration(client_side=False, validate_inbound_headers=True))
    origin.initiate_connection()
    with suppress(StreamClosedError):
        origin.receive_data(out[ORIGIN])


def hpack(data: bytes) -> None:
    """Two blocks, so that the table counts; against the decoder of python-hyper."""
    first, _, second = data.partition(b"\xff|")
    ours, theirs = Decoder(largest=4096), OtherDecoder(max_header_list_size=BLOCK_LIMIT)
    for block in (first, second):
        found: list[tuple[bytes, bytes]] | None
        wanted: list[tuple[bytes, bytes]] | None
        try:
            found = list(ours.decode(block))
        except (HpackError, IndexError):
            found = None
        try:
            wanted = [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)]
        except (HPACKError, UnicodeDecodeError):
            wanted = None
        if found is None or wanted is None:
            assert found is None, "taken, where python-hyper sees an error"
            return
        assert found == wanted
        assert ours.table_size <= 4096


def websocket(data: bytes) -> None:
    script = script_of(data)
    told = []
    for pieces in (script, *(cut(script, size) for size in CUTS)):
        one = WebSocketObserver("/", "a", 0.0)
        for side, piece in pieces:
            one.receive(side, piece)
        told.append(one.finish(1.0, None).note)
    assert all(answer == told[0] for answer in told), told


def websocket_messages(data: bytes) -> None:
    masked, deflate = bool(data[:1] and data[0] & 1), Deflate(bool(data[:1] and data[0] & 4))
    options = deflate if data[:1] and data[0] & 2 else None
    stream, answers = data[1:], []
    for size in (len(stream) or 1, *CUTS):
        reader, writer = MessageReader(masked=masked, deflate=options), MessageWriter(masked=masked, deflate=options)
        found: list[tuple[str, bytes]] = [("", b"")]
        buffer, wrote = bytearray(), b""
        for at in range(0, len(stream), size):
            buffer += stream[at : at + size]
            try:
                while (one := reader.take(buffer)) is not None:
                    if isinstance(one, Control):
                        found.append((one.opcode.name, one.payload))
                        continue
                    assert len(one.data) <= PIECE
                    found.append((str(one.is_text), one.data))
                    wrote += writer.piece(one)
            except FrameError:
                found.append(("error", b""))
                break
        messages = b"".join(payload for kind, payload in found if kind in ("True", "False"))
        answers.append((messages, [one for one in found if one[0] not in ("True", "False")]))
        again, back = MessageReader(masked=masked, deflate=options), b""
        buffer = bytearray(wrote)
        while (piece := again.take(buffer)) is not None:
            assert isinstance(piece, Piece)
            back += piece.data
        assert back == messages, "what was written reads as what was read"
    for at_least, events in answers:  # zlib may find an error before it gives what is before it
        assert events == answers[0][1]
        assert events[-1][0] == "error" or at_least == answers[0][0]


def tls(data: bytes) -> None:
    """Junk at any moment of a handshake; the connection ends, once, with a record."""
    for policy in ('default = "inspect"', 'default = "intercept"', 'default = "relay"'):
        rig = Rig(policy)
        for side, piece in script_of(data):
            if not rig.over and (side is APP or rig.dials):
                rig.app_sends(piece) if side is APP else rig.origin_sends(piece)
        for _ in range(100):
            if rig.over or rig.connection.deadline == float("inf"):
                break
            rig.advance(rig.connection.deadline - rig.now)
        for side in Side:
            if not rig.over:
                rig.ends(side)
        for _ in range(100):
            if rig.over:
                break
            rig.advance(max(1.0, min(rig.connection.deadline - rig.now, 1e6)))
        assert rig.over and len(rig.records) >= 1


def proxy_replies(data: bytes) -> None:
    parsers: list[Callable[[bytes], object]] = [
        socks5.parse_method, socks5.parse_authentication, socks5.parse_reply, http_connect.parse_response,
    ]  # fmt: skip
    for parser in parsers:
        answer: object = None
        for size in range(min(len(data), 600) + 1):
            try:
                found = parser(data[:size])
            except ProxyError as error:
                found = ProxyError
                assert len(str(error)) < 1000
            assert answer is None or (found is ProxyError) == (answer is ProxyError), "more bytes do not change it"
            if answer is not None and found is not ProxyError:
                assert found == answer
            answer = found


def redirect_context(data: bytes) -> None:
    try:
        context = decode_redirect_context(data)
    except AbiError:
        return
    assert decode_redirect_context(encode_redirect_context(context)) == context


def policy(data: bytes) -> None:
    with suppress(PointsmanError):
        parse_policy(data, "fuzz.toml", lambda _name: b"a.example\n10.0.0.0/8\n")


HEAD1 = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST1 = b"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
)
OK1 = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWERS = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nT: 1\r\n\r\n"
)
HTTP1_SEEDS = [
    joined((APP, HEAD1), (ORIGIN, OK1), (APP, HEAD1), (ORIGIN, OK1)),
    joined((APP, POST1 + HEAD1), (ORIGIN, OK1 + OK1)),
    joined((APP, CHUNKED), (ORIGIN, ANSWERS)),
    joined((APP, HEAD1.replace(b"GET", b"HEAD") + HEAD1), (ORIGIN, OK1[:-2]), (ORIGIN, OK1)),
    joined((APP, HEAD1.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")),
           (ORIGIN, b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"),
           (APP, b"\x81\x82\0\0\0\0hi")),
    joined((APP, b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"), (ORIGIN, b"HTTP/1.1 200 OK\r\n\r\n"), (APP, b"x")),
    joined((APP, b"GET / HTTP/1.0\r\n\r\n"), (ORIGIN, b"HTTP/1.0 200 OK\r\n\r\nto the end")),
    joined((APP, HEAD1), (ORIGIN, b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n")),
]  # fmt: skip
HTTP2_SEEDS = [
    *(joined((APP, one.frames)) for one in (*CONNECTION_ERRORS, *STREAM_ERRORS) if len(one.frames) < 2000),
    *(joined((APP, one)) for one in ALLOWED.values() if len(one) < 2000),
    joined((APP, headers(1) + headers(3, POST, end=False) + data(3, b"hello", end=True)),
           (ORIGIN, write_headers(1, b"\x88", 16384, end_stream=False) + write_frame(0, END_STREAM, 1, b"ok")),
           (ORIGIN, write_headers(3, b"\x8d", 16384, end_stream=True) + write_frame(7, 0, 0, bytes(8)))),
    joined((APP, headers(1)), (ORIGIN, write_frame(3, 0, 1, bytes(4)) + write_frame(6, 0, 0, bytes(8)))),
]  # fmt: skip


def _websocket_seeds() -> list[bytes]:
    up, down = MessageWriter(masked=True, deflate=None), MessageWriter(masked=False, deflate=None)
    first, last = Piece(True, b"hello", False, False, b"abcd"), Piece(True, b"world", True, False, b"abcd")
    return [joined((APP, up.piece(first) + up.piece(last) + b"\x88\x82abcd\x62\x8a"),
                   (ORIGIN, down.piece(last) + b"\x89\x01x\x88\x02\x03\xe8"))]  # fmt: skip


def _message_seeds() -> list[bytes]:
    seeds = []
    for flags in range(8):
        takes_over, masked = bool(flags & 4), bool(flags & 1)
        writer = MessageWriter(masked=masked, deflate=Deflate(takes_over) if flags & 2 else None)
        pieces = [Piece(True, b"a" * 300, False, True, b"abcd"), Piece(True, b"tail", True, True, b"abcd")]
        seeds.append(bytes([flags]) + b"".join(map(writer.piece, pieces)) + writer.piece(pieces[1]))
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(1 << 17)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    seeds.append(b"\x02\xc1\x7e" + len(packed).to_bytes(2, "big") + packed)
    return seeds


HELLO = authority.client_hello("www.example.com", ("h2", "http/1.1"))
POLICY = b"""default = "inspect"
[groups.hosts]
ads = ["*.ads.example", "x.example"]
[upstreams.corp]
url = "socks5://127.0.0.1:1080"
[[rule]]
name = "one"
app = ["C:/a/**/b.exe"]
host = ["a.example", "*.b.example"]
remote = ["10.0.0.0/8", "::1"]
port = ["80", "1000-2000"]
time = "mon-fri 08:00-18:00"
action = "block"
"""
TARGETS: dict[str, tuple[Target, list[bytes]]] = {
    "peek": (peek, [HELLO, HEAD1, POST1, HELLO[:50], b"\x16\x03\x01\x00\x01\x01" * 9, b"SSH-2.0-x\r\n"]),
    "http1_observer": (http1_observer, HTTP1_SEEDS),
    "http1_rebuild": (http1_rebuild, HTTP1_SEEDS),
    "http2_observer": (http2_observer, HTTP2_SEEDS),
    "http2_rebuild": (http2_rebuild, HTTP2_SEEDS),
    "hpack": (hpack, [headers(1, GET)[9:] + b"\xff|" + headers(1, POST)[9:], b"\x20\x3f\xe1\x1f\xff|\x82\xbe"]),
    "websocket": (websocket, _websocket_seeds()),
    "websocket_messages": (websocket_messages, _message_seeds()),
    "tls": (tls, [joined((APP, HELLO)), joined((APP, HELLO), (ORIGIN, b"\x15\x03\x03\x00\x02\x02\x28")),
                  joined((APP, HELLO[:99]), (APP, HELLO[99:]), (ORIGIN, b"\x16\x03\x03\x00\x04\x02\0\0\0"))]),
    "proxy_replies": (proxy_replies, [
        b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x01\x7f\0\0\x01\0\x50", b"\x05\x00\x00\x03\x03abc\0\x50",
        b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n", b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n",
    ]),
    "redirect_context": (redirect_context, [
        encode_redirect_context(context_for("127.0.0.1", 80)), encode_redirect_context(context_for("::1", 443)),
    ]),
    "policy": (policy, [POLICY]),
}  # fmt: skip
