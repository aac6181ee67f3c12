"""Every rule of http2_vectors on real sockets: kept by the whole proxy in intercept, passed on as it is in inspect."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.conformance.http2_vectors import (
    AFTER,
    ALLOWED,
    ALLOWED_AFTER,
    CONNECTION_ERRORS,
    PAGE,
    STREAM_ERRORS,
    Vector,
    headers,
    number,
)
from tests.conformance.stage import Stage, raw_origin, read_to_end, stage

from pointsman.wire.hpack import Decoder
from pointsman.wire.http2_frames import END_STREAM, PREFACE, FrameType
from pointsman.wire.http2_messages import (
    ACK,
    ErrorCode,
    Frame,
    FrameSplitter,
    Http2Error,
    write_frame,
    write_headers,
    write_settings,
)

HELLO = PREFACE + write_settings([])
OK = b"\x88"  # ":status: 200", in HPACK
MARK = b"the end."


class Frames:
    """The frames that a peer receives, one after the other."""

    def __init__(self, peer: socket.socket, *, preface: bool = False) -> None:
        self._peer = peer
        self._splitter = FrameSplitter(preface=preface)
        self._found: list[Frame] = []

    def next(self) -> Frame | None:
        while not self._found:
            try:
                data = self._peer.recv(65536)
            except (ConnectionError, ssl.SSLError):
                return None
            if not data:
                return None
            self._found += self._splitter.feed(data)
        return self._found.pop(0)

    def until(self, kind: FrameType, stream: int, *, flags: int = 0) -> Frame | None:
        while (frame := self.next()) is not None:
            if (frame[0], frame[2]) == (kind, stream) and frame[1] & flags == flags:
                return frame
        return None


def origin(peer: socket.socket) -> None:
    """Answers /page when the request is whole, and nothing else."""
    peer.sendall(write_settings([]))
    frames, fields = Frames(peer, preface=True), Decoder()
    pages: set[int] = set()
    while (frame := frames.next()) is not None:
        kind, flags, stream, payload = frame
        if kind == FrameType.HEADERS and (b":path", b"/page") in fields.decode(payload):
            pages.add(stream)
        if kind in (FrameType.HEADERS, FrameType.DATA) and flags & END_STREAM and stream in pages:
            peer.sendall(write_headers(stream, OK, 16384, end_stream=False) + write_frame(0, END_STREAM, stream, b"ok"))


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    with raw_origin(origin, "h2") as port, stage(folder, 'default = "intercept"', port) as one:
        yield one


def ask(proxy: Stage, frames: bytes) -> tuple[socket.socket, Frames]:
    peer = proxy.connect("h2")
    peer.sendall(HELLO + frames)
    return peer, Frames(peer)


@pytest.mark.parametrize("vector", CONNECTION_ERRORS, ids=lambda one: one.name)
def test_a_rule_of_the_connection_ends_it_with_its_code_and_a_record(proxy: Stage, vector: Vector) -> None:
    before = len(proxy.all_records())
    peer, frames = ask(proxy, vector.frames)
    with peer:
        goaway = frames.until(FrameType.GOAWAY, 0)
        assert goaway is not None, "closed without a word"
        assert ErrorCode(int.from_bytes(goaway[3][4:8], "big")) in vector.wants
        assert frames.next() is None, "and then the connection is closed"
    records = proxy.records(before)
    assert all(one.error is not None and "HTTP/2" in one.error for one in records if not one.path), records


@pytest.mark.parametrize("vector", STREAM_ERRORS, ids=lambda one: one.name)
def test_a_rule_of_a_stream_ends_it_alone(proxy: Stage, vector: Vector) -> None:
    assert vector.stream is not None
    peer, frames = ask(proxy, vector.frames)
    with peer:
        found = frames.until(FrameType.RST_STREAM, vector.stream)
        assert found is not None, "the connection was closed"
        assert ErrorCode(int.from_bytes(found[3], "big")) in vector.wants
        peer.sendall(write_frame(FrameType.PING, 0, 0, b"go on  ?"))
        assert frames.until(FrameType.PING, 0, flags=ACK) is not None
        if vector.stream == 1:
            peer.sendall(headers(3, PAGE))
            assert frames.until(FrameType.DATA, 3, flags=END_STREAM) is not None


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_is_taken(proxy: Stage, name: str) -> None:
    peer, frames = ask(proxy, ALLOWED[name])
    with peer:
        stream = 3 if headers(3, PAGE) in ALLOWED[name] else 1
        head = frames.until(FrameType.HEADERS, stream)
        assert head is not None and Decoder().decode(head[3])[0] == (b":status", b"200")
        while not head[1] & END_STREAM:
            head = frames.next()
            assert head is not None, "the answer was cut short"
        peer.sendall(write_frame(FrameType.PING, 0, 0, b"go on  ?"))
        assert frames.until(FrameType.PING, 0, flags=ACK) is not None


def answered(proxy: Stage) -> tuple[socket.socket, Frames]:
    peer, frames = ask(proxy, headers(1, PAGE))
    assert frames.until(FrameType.DATA, 1, flags=END_STREAM) is not None
    return peer, frames


@pytest.mark.parametrize("vector", AFTER, ids=lambda one: one.name)
def test_a_stream_that_has_ended_stays_so(proxy: Stage, vector: Vector) -> None:
    peer, frames = answered(proxy)
    with peer:
        peer.sendall(vector.frames)
        goaway = frames.until(FrameType.GOAWAY, 0)
        assert goaway is not None, "closed without a word"
        assert ErrorCode(int.from_bytes(goaway[3][4:8], "big")) in vector.wants


@pytest.mark.parametrize("name", ALLOWED_AFTER)
def test_what_may_still_come_for_a_stream_that_has_ended(proxy: Stage, name: str) -> None:
    peer, frames = answered(proxy)
    with peer:
        peer.sendall(ALLOWED_AFTER[name] + headers(3, PAGE))
        assert frames.until(FrameType.DATA, 3, flags=END_STREAM) is not None


def test_settings_are_acknowledged_and_a_ping_comes_back(proxy: Stage) -> None:
    peer, frames = ask(proxy, write_settings([(3, 7)]) + write_frame(FrameType.PING, 0, 0, b"12345678"))
    with peer:
        acks = [frames.until(FrameType.SETTINGS, 0, flags=ACK) for _ in range(2)]
        assert acks == [(FrameType.SETTINGS, ACK, 0, b"")] * 2
        assert frames.until(FrameType.PING, 0, flags=ACK) == (FrameType.PING, ACK, 0, b"12345678")


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PREFACE + headers(1), b"\0" * 24, b"PRI * X"])
def test_a_wrong_preface_ends_the_connection(proxy: Stage, first: bytes) -> None:
    with proxy.connect("h2") as peer:
        peer.sendall(first)
        data = read_to_end(peer)
        goaway = write_frame(FrameType.GOAWAY, 0, 0, number(0) + number(ErrorCode.PROTOCOL_ERROR))
        assert goaway in data


# The other side: an origin that breaks the rules.

FAULTS: dict[bytes, tuple[bytes, ErrorCode | None]] = {
    b"/settings-ack": (write_frame(FrameType.SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    b"/ping-size": (write_frame(FrameType.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    b"/push": (write_frame(FrameType.PUSH_PROMISE, 4, 1, number(2) + b"\x82"), ErrorCode.PROTOCOL_ERROR),
    b"/hpack": (write_frame(FrameType.HEADERS, 4, 1, b"\x80"), ErrorCode.COMPRESSION_ERROR),
    b"/idle": (write_frame(FrameType.DATA, 0, 7, b"x"), ErrorCode.PROTOCOL_ERROR),
    b"/even": (write_frame(FrameType.HEADERS, 5, 2, OK), ErrorCode.PROTOCOL_ERROR),
    b"/stream-0": (write_frame(FrameType.HEADERS, 5, 0, OK), ErrorCode.PROTOCOL_ERROR),
    b"/large": (write_frame(FrameType.DATA, 0, 1, bytes(16385)), ErrorCode.FRAME_SIZE_ERROR),
    b"/window": (write_frame(FrameType.WINDOW_UPDATE, 0, 0, number(0)), ErrorCode.PROTOCOL_ERROR),
    b"/table": (write_frame(FrameType.HEADERS, 5, 1, b"\x3f\xe2\x1f" + OK), ErrorCode.COMPRESSION_ERROR),
    b"/no-status": (write_headers(1, b"\x00\x01x\x01y", 16384, end_stream=True), None),
    b"/two-status": (write_headers(1, OK + OK, 16384, end_stream=True), None),
    b"/101": (write_headers(1, b"\x08\x03101", 16384, end_stream=True), None),
    b"/data-first": (write_frame(FrameType.DATA, END_STREAM, 1, b"x"), None),
    b"/connection": (write_headers(1, OK + b"\x00\x0aconnection\x05close", 16384, end_stream=True), None),
}
"""What it answers, and the code it is told in a GOAWAY; None: it concerns the stream alone."""


@pytest.mark.parametrize("path", FAULTS)
def test_an_origin_that_breaks_a_rule_is_told_and_the_app_gets_no_answer_of_its(
    tmp_path_factory: pytest.TempPathFactory, path: bytes
) -> None:
    frames_, code = FAULTS[path]
    told: list[Frame] = []
    done = threading.Event()

    def serve(peer: socket.socket) -> None:
        peer.sendall(write_settings([]))
        frames = Frames(peer, preface=True)
        if frames.until(FrameType.HEADERS, 1) is not None:
            peer.sendall(frames_)
            found = frames.until(FrameType.RST_STREAM, 1) if code is None else frames.until(FrameType.GOAWAY, 0)
            told.extend([found] if found else [])
        done.set()
        read_to_end(peer)

    with raw_origin(serve, "h2") as port, stage(tmp_path_factory.mktemp("s"), 'default = "intercept"', port) as one:
        peer, frames = ask(one, headers(1))
        with peer:
            assert done.wait(20)
            assert told, "it was told nothing"
            payload = told[0][3]
            assert int.from_bytes(payload[4:8] if code is not None else payload, "big") == (
                code if code is not None else ErrorCode.PROTOCOL_ERROR
            )
            frame = frames.next()
            while frame is not None and (frame[2] != 1 or frame[0] not in (FrameType.HEADERS, FrameType.RST_STREAM)):
                frame = frames.next()
            if frame is not None and frame[0] == FrameType.HEADERS:
                assert Decoder().decode(frame[3])[0] == (b":status", b"502")
        assert one.records(0)[0].error is not None


def test_in_inspect_every_byte_of_every_vector_arrives_as_it_was_sent(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    got: list[bytes] = []
    arrived = threading.Semaphore(0)

    def serve(peer: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            while not data.endswith(MARK):
                part = peer.recv(65536)
                if not part:
                    break
                data += part
        got.append(data)
        arrived.release()

    vectors = [one.frames for one in (*CONNECTION_ERRORS, *STREAM_ERRORS)] + list(ALLOWED.values())
    with raw_origin(serve, "h2") as port, stage(tmp_path_factory.mktemp("s"), 'default = "inspect"', port) as one:
        for frames in vectors:
            with one.connect("h2") as peer:
                peer.sendall(HELLO + frames + MARK)
                assert arrived.acquire(timeout=20)
    assert got == [HELLO + frames + MARK for frames in vectors]


def test_every_vector_is_whole_frames() -> None:
    """One with a typo in a length would be something else than it says."""
    for one in (*CONNECTION_ERRORS, *STREAM_ERRORS):
        splitter = FrameSplitter(preface=True)
        with suppress(Http2Error):  # the one that is too large
            list(splitter.feed(HELLO + one.frames))
            (last,) = splitter.feed(write_frame(FrameType.PING, 0, 0, MARK))
            assert last[3] == MARK
