"""HTTP/2 through the engine: h2 of python-hyper at both ends, real TLS between, frames as they were sent."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.engine.events import Side
from pointsman.engine.http2 import CONTINUATIONS_LIMIT, STREAMS_LIMIT, Http2Observer
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd, pump
from pointsman.wire.http2_frames import PREFACE

h2_connection = pytest.importorskip("h2.connection", reason="the other end of these tests, in the dev group")
from h2.config import H2Configuration  # noqa: E402 - only once it is known to be there
from h2.events import DataReceived, RequestReceived, ResponseReceived, TrailersReceived  # noqa: E402

NAME = "www.example.com"


def request(path: str, method: str = "GET") -> list[tuple[str, str]]:
    return [(":method", method), (":path", path), (":scheme", "https"), (":authority", NAME)]


class Ends:
    """A client and a server of h2.  `script` collects what each sent, in order."""

    def __init__(self) -> None:
        self.client = h2_connection.H2Connection(H2Configuration(client_side=True))
        self.server = h2_connection.H2Connection(H2Configuration(client_side=False))
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.script: list[tuple[Side, bytes]] = []
        self.events: dict[Side, list[Any]] = {side: [] for side in Side}

    def pump(self) -> None:
        moved = True
        while moved:
            moved = False
            for side, own, other in ((APP, self.client, self.server), (ORIGIN, self.server, self.client)):
                data = own.data_to_send()
                if data:
                    moved = True
                    self.script.append((side, data))
                    self.events[side.other] += other.receive_data(data)


def conversation() -> Ends:
    ends = Ends()
    ends.pump()
    for number in (1, 3, 5):
        ends.client.send_headers(number, request(f"/{number}"), end_stream=number != 5)
    ends.client.send_data(5, b"x" * 3000, end_stream=True)
    ends.pump()
    ends.server.send_headers(3, [(":status", "200"), ("content-type", "application/grpc")])
    ends.server.send_data(3, b"y" * 5000)
    ends.server.send_headers(3, [("grpc-status", "0")], end_stream=True)
    ends.server.send_headers(1, [(":status", "404")], end_stream=True)
    ends.server.send_headers(5, [(":status", "103")])
    ends.server.send_headers(5, [(":status", "201")])
    ends.server.send_data(5, b"", end_stream=True)
    ends.pump()
    return ends


def watch(script: list[tuple[Side, bytes]]) -> tuple[Http2Observer, list[tuple[str, str, int | None, str | None]]]:
    observer = Http2Observer()
    for step, (side, data) in enumerate(script):
        observer.receive(side, data, float(step))
    done = observer.take()
    return observer, [(one.method, one.path, one.status, one.error) for one in done]


def test_streams_end_in_any_order_with_trailers_and_interim_answers() -> None:
    observer, told = watch(conversation().script)

    assert observer.watching
    assert told == [("GET", "/3", 200, None), ("GET", "/1", 404, None), ("GET", "/5", 201, None)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 40) | st.integers(1, 5000), min_size=1, max_size=12))
def test_how_tcp_cuts_the_bytes_does_not_matter(sizes: list[int]) -> None:
    script = conversation().script
    cut: list[tuple[Side, bytes]] = []
    size = cycle(sizes)
    for side, chunk in script:
        while chunk:
            step = next(size)
            cut.append((side, chunk[:step]))
            chunk = chunk[step:]

    assert watch(cut)[1] == watch(script)[1]


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(Side), st.binary(max_size=60)), max_size=8), st.booleans())
def test_any_bytes_are_survived(junk: list[tuple[Side, bytes]], begun: bool) -> None:
    observer, _ = watch([(APP, PREFACE), *junk] if begun else junk)
    observer.cut(9.0, "over")
    observer.take()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_flipped_byte_is_survived(data: st.DataObject) -> None:
    script = conversation().script
    which = data.draw(st.integers(0, len(script) - 1))
    side, chunk = script[which]
    at = data.draw(st.integers(0, len(chunk) - 1))
    script[which] = side, chunk[:at] + bytes([data.draw(st.integers(0, 255))]) + chunk[at + 1 :]
    observer, _ = watch(script)
    observer.cut(9.0, "over")


def test_a_reset_is_told_with_its_reason_and_by_whom() -> None:
    ends = Ends()
    for number in (1, 3, 5):
        ends.client.send_headers(number, request("/"), end_stream=number != 5)
    ends.pump()
    ends.client.reset_stream(1, error_code=8)
    ends.server.reset_stream(3, error_code=7)
    ends.server.send_headers(5, [(":status", "413")], end_stream=True)
    ends.server.reset_stream(5, error_code=0)
    ends.pump()

    errors = [(status, error) for _, _, status, error in watch(ends.script)[1]]
    assert errors == [(None, "reset by the app (CANCEL)"), (None, "reset by the origin (REFUSED_STREAM)"), (413, None)]


def test_what_goaway_leaves_behind_is_told() -> None:
    ends = Ends()
    for number in (1, 3):
        ends.client.send_headers(number, request(f"/{number}"), end_stream=True)
    ends.pump()
    ends.script.append((ORIGIN, b"\0\0\x08\x07\0\0\0\0\0" + (1).to_bytes(4, "big") + (11).to_bytes(4, "big")))

    _, told = watch(ends.script)
    assert told == [("GET", "/3", None, "not processed: the connection goes away (ENHANCE_YOUR_CALM)")]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@pytest.mark.parametrize("payload", [b"", b"x" * 16384], ids=["empty", "large"])
def test_a_flood_of_continuations_is_not_kept(payload: bytes) -> None:
    observer = Http2Observer()
    observer.receive(APP, PREFACE + frame(1, 0, 1, b""), 0.0)
    for _ in range(CONTINUATIONS_LIMIT + 1):
        observer.receive(APP, frame(9, 0, 1, payload), 0.0)

    assert not observer.watching


def test_rapid_reset_leaves_nothing_open() -> None:
    observer = Http2Observer()
    observer.receive(APP, PREFACE, 0.0)
    for number in range(1, 20001, 2):
        observer.receive(APP, frame(1, 5, number, b"\x82\x84\x87") + frame(3, 0, number, b"\0\0\0\x08"), 0.0)

    assert len(observer.take()) == 10_000
    observer.cut(1.0, "over")
    assert observer.take() == []


def test_more_streams_than_any_server_allows_end_the_watching() -> None:
    observer = Http2Observer()
    observer.receive(APP, PREFACE, 0.0)
    for number in range(1, 2 * STREAMS_LIMIT + 3, 2):
        observer.receive(APP, frame(1, 5, number, b"\x82\x84\x87"), 0.0)
    assert not observer.watching

    observer.cut(1.0, "over")
    assert len(observer.take()) == STREAMS_LIMIT


def test_padding_priority_and_continuations_are_read_through() -> None:
    observer = Http2Observer()
    block = b"\x82\x84\x87"
    padded = b"\x03" + b"\0\0\0\0\x10" + block[:1] + b"\0\0\0"
    observer.receive(APP, PREFACE + frame(1, 0x8 | 0x20 | 0x1, 1, padded) + frame(9, 4, 1, block[1:]), 0.0)
    observer.receive(ORIGIN, frame(1, 5, 1, b"\x88"), 1.0)

    (exchange,) = observer.take()
    assert (exchange.method, exchange.path, exchange.status) == ("GET", "/", 200)


def test_a_push_is_an_exchange_of_its_own() -> None:
    observer = Http2Observer()
    observer.receive(APP, PREFACE + frame(1, 5, 1, b"\x82\x84\x87"), 0.0)
    observer.receive(ORIGIN, frame(5, 4, 1, (2).to_bytes(4, "big") + b"\x82\x85\x87"), 1.0)
    observer.receive(ORIGIN, frame(1, 5, 1, b"\x88") + frame(1, 4, 2, b"\x88") + frame(0, 1, 2, b"abc"), 2.0)

    assert [(one.path, one.status) for one in observer.take()] == [("/", 200), ("/index.html", 200)]


def test_two_ends_of_h2_talk_through_tls_and_are_seen() -> None:
    rig = Rig()
    client = authority.client_context("h2", "http/1.1", trusts=authority.root("proxy"))
    app = TlsEnd(rig, APP, client, NAME)
    origin = TlsEnd(rig, ORIGIN, authority.server_context(NAME, alpn="h2"))
    pump(app, origin)
    assert app.tls.selected_alpn_protocol() == origin.tls.selected_alpn_protocol() == "h2"
    ends = conversation()
    seen = {APP: bytearray(), ORIGIN: bytearray()}
    for side, data in ends.script:
        (app if side is APP else origin).send(data)
        seen[side.other] += data
        pump(app, origin)

    assert bytes(origin.received) == bytes(seen[ORIGIN])
    assert bytes(app.received) == bytes(seen[APP])
    kinds = (DataReceived, RequestReceived, ResponseReceived, TrailersReceived)
    assert all(any(isinstance(event, kind) for events in ends.events.values() for event in events) for kind in kinds)
    assert [(one.protocol, one.host, one.path, one.status) for one in rig.records] == [
        ("h2", NAME, "/3", 200),
        ("h2", NAME, "/1", 404),
        ("h2", NAME, "/5", 201),
    ]
    assert rig.records[0].bytes_down > 5000 and rig.records[2].bytes_up > 3000
