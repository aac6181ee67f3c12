"""WebSockets seen through HTTP/1: every kind of frame, any cut, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.http1 import Http1Observer
from pointsman.engine.websocket import WebSocketObserver

UP, DOWN = Side.DOWNSTREAM, Side.UPSTREAM
OPEN = b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
Script = list[tuple[Side, bytes]]


def frame(opcode: int, payload: bytes, *, masked: bool, final: bool = True, rsv1: bool = False) -> bytes:
    head = bytes([opcode | (0x80 if final else 0) | (0x40 if rsv1 else 0)])
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask | len(payload)])
    elif len(payload) < 65536:
        head += bytes([mask | 126]) + len(payload).to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + len(payload).to_bytes(8, "big")
    if not masked:
        return head + payload
    key = b"\x01\x02\x03\x04"
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


SCRIPT: Script = [
    (UP, frame(1, b"hello", masked=True)),
    (DOWN, frame(2, b"x" * 70_000, masked=False, rsv1=True)),
    (UP, frame(1, b"a" * 200, masked=True, final=False)),
    (UP, frame(9, b"ping", masked=True)),
    (DOWN, frame(10, b"ping", masked=False)),
    (UP, frame(0, b"b" * 300, masked=True)),
    (UP, frame(8, (1001).to_bytes(2, "big") + b"bye", masked=True)),
    (DOWN, frame(8, (1001).to_bytes(2, "big"), masked=False)),
]
NOTE = "2 messages up, 1 down, 5 and 3 frames, closed by the app with 1001"


def watch(script: Script) -> list[Exchange]:
    observer = Http1Observer()
    done: list[Exchange] = []
    for step, (side, data) in enumerate(script):
        observer.receive(side, data, float(step))
        done += observer.take()
    observer.cut(99.0, "cut off")
    return done + observer.take()


def test_a_websocket_is_told_at_its_end() -> None:
    opened, told = watch([(UP, OPEN), (DOWN, SWITCHED), *SCRIPT])

    assert (opened.method, opened.status, opened.error) == ("GET", 101, None)
    assert (told.method, told.path, told.host, told.note, told.error) == ("WEBSOCKET", "/chat", "a.example", NOTE, None)
    assert told.bytes_up == sum(len(data) for side, data in SCRIPT if side is UP)
    assert told.bytes_down == sum(len(data) for side, data in SCRIPT if side is DOWN)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30) | st.integers(1, 40_000), min_size=1, max_size=10))
def test_how_tcp_cuts_the_bytes_does_not_matter(sizes: list[int]) -> None:
    script: Script = []
    for side, data in [(UP, OPEN), (DOWN, SWITCHED), *SCRIPT]:
        at, turn = 0, 0
        while at < len(data):
            size = sizes[turn % len(sizes)] * (1 if len(data) < 5000 else 50)
            script.append((side, data[at : at + size]))
            at, turn = at + size, turn + 1

    assert watch(script)[1].note == NOTE


def test_frames_may_come_in_one_piece_with_the_switch_and_before_it() -> None:
    early = [(UP, OPEN + SCRIPT[0][1]), (DOWN, SWITCHED + SCRIPT[1][1])]
    opened, told = watch([*early, *SCRIPT[2:]])

    assert told.note == NOTE
    assert told.bytes_down == sum(len(data) for side, data in SCRIPT if side is DOWN)
    assert (opened.bytes_up, opened.bytes_down, opened.status) == (len(OPEN), len(SWITCHED), 101)


def test_without_a_close_frame_it_was_cut_off() -> None:
    assert watch([(UP, OPEN), (DOWN, SWITCHED), SCRIPT[0]])[1].error == "cut off"


def test_another_protocol_after_a_switch_is_no_websocket() -> None:
    other = [(UP, OPEN.replace(b"websocket", b"other")), (DOWN, SWITCHED.replace(b"websocket", b"other"))]
    assert [one.method for one in watch([*other, *SCRIPT])] == ["GET"]


@pytest.mark.parametrize(
    ("side", "data"),
    [
        (UP, frame(1, b"x", masked=False)),
        (DOWN, frame(1, b"x", masked=True)),
        (DOWN, frame(3, b"x", masked=False)),
        (DOWN, frame(0, b"x", masked=False)),
        (DOWN, frame(9, b"x" * 126, masked=False)),
        (DOWN, frame(9, b"x", masked=False, final=False)),
        (DOWN, frame(1, b"x", masked=False, final=False) * 2),
        (DOWN, b"\xa1\x00"),
        (DOWN, b"\x82\x7f" + b"\xff" * 8),
    ],
)
def test_what_is_no_websocket_ends_the_counting_and_nothing_else(side: Side, data: bytes) -> None:
    observer = WebSocketObserver("/", None, 0.0)
    observer.receive(side, data)
    observer.receive(side, b"more")
    told = observer.finish(1.0, None)

    assert "not followed to the end" in (told.note or "")
    assert told.bytes_up + told.bytes_down == len(data) + 4


@given(st.lists(st.tuples(st.sampled_from(Side), st.binary(max_size=40)), max_size=10))
def test_any_bytes_are_survived(script: Script) -> None:
    observer = WebSocketObserver("/", None, 0.0)
    for side, data in script:
        observer.receive(side, data)
    observer.finish(1.0, "over")
