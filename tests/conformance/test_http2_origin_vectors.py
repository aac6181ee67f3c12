"""Every rule of http2_origin_vectors on real sockets: an origin that breaks it is told, its app gets no answer of its;
in inspect every byte of it arrives."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.conformance.http2_origin_vectors import ALLOWED, CONNECTION_ERRORS, STREAM_ERRORS
from tests.conformance.http2_vectors import PAGE, Vector, headers, without_of
from tests.conformance.stage import Stage, raw_origin, read_to_end, stage
from tests.conformance.test_http2_vectors import HELLO, MARK, Frames

from pointsman.testing.proxy import PATIENCE
from pointsman.wire.hpack import Decoder
from pointsman.wire.http2_frames import END_STREAM, FrameType
from pointsman.wire.http2_messages import ACK, ErrorCode, write_frame, write_settings


class Play:
    """A proxy, and an origin whose part the test plays once a connection has come."""

    def __init__(self, one: Stage, opened: queue.Queue[tuple[socket.socket, threading.Event]]) -> None:
        self.stage = one
        self._opened = opened

    @contextmanager
    def connected(self, first: bytes) -> Iterator[tuple[socket.socket, socket.socket]]:
        """App, which has sent `first`, and origin, which has sent its SETTINGS."""
        with self.stage.connect("h2") as app:
            app.sendall(HELLO + first)
            origin, over = self._opened.get(timeout=PATIENCE)
            try:
                origin.sendall(write_settings([]))
                yield app, origin
            finally:
                over.set()


@contextmanager
def play(tmp_path_factory: pytest.TempPathFactory, policy: str) -> Iterator[Play]:
    opened: queue.Queue[tuple[socket.socket, threading.Event]] = queue.Queue()

    def serve(peer: socket.socket) -> None:
        over = threading.Event()
        opened.put((peer, over))
        over.wait(PATIENCE)

    with (
        raw_origin(serve, "h2") as port,
        stage(tmp_path_factory.mktemp("s"), f'default = "{policy}"', port) as one,
    ):
        yield Play(one, opened)


@pytest.fixture(scope="module")
def intercepted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    with play(tmp_path_factory, "intercept") as one:
        yield one


def asked(origin: socket.socket) -> Frames:
    """Once the origin has the whole request."""
    frames = Frames(origin, preface=True)
    assert frames.until(FrameType.HEADERS, 1, flags=END_STREAM) is not None
    return frames


def status_told(app: socket.socket) -> bytes | None:
    """Of the answer; None: the stream was reset or the connection ended without one."""
    frames, fields = Frames(app), Decoder()
    while (frame := frames.next()) is not None:
        if frame[0] == FrameType.HEADERS:
            ((_, status), *_) = fields.decode(frame[3])
            if not status.startswith(b"1"):
                return status
        elif frame[0] == FrameType.RST_STREAM:
            return None
    return None


@pytest.mark.parametrize("vector", CONNECTION_ERRORS, ids=lambda one: one.name)
def test_a_rule_of_the_connection_ends_it_with_its_code_and_a_record(intercepted: Play, vector: Vector) -> None:
    before = len(intercepted.stage.all_records())
    with intercepted.connected(headers(1, PAGE)) as (app, origin):
        frames = asked(origin)
        origin.sendall(vector.frames)
        goaway = frames.until(FrameType.GOAWAY, 0)
        assert goaway is not None, "closed without a word"
        assert ErrorCode(int.from_bytes(goaway[3][4:8], "big")) in vector.wants
        assert read_to_end(origin) == b"", "and then the connection is closed"
        assert status_told(app) in (None, b"200", b"502"), "it got an answer before, or none"
    (record, *_) = intercepted.stage.records(before)
    assert record.path == "/page"
    # A stream may have been over before the origin went wrong: then its record has no fault.
    assert "after the end" in vector.name or record.error is not None


@pytest.mark.parametrize("vector", STREAM_ERRORS, ids=lambda one: one.name)
def test_a_rule_of_a_stream_ends_it_alone(intercepted: Play, vector: Vector) -> None:
    before = len(intercepted.stage.all_records())
    with intercepted.connected(headers(1, PAGE)) as (app, origin):
        frames = asked(origin)
        origin.sendall(vector.frames)
        found = frames.until(FrameType.RST_STREAM, 1)
        assert found is not None, "the connection was closed"
        assert ErrorCode(int.from_bytes(found[3], "big")) in vector.wants
        origin.sendall(write_frame(FrameType.PING, 0, 0, b"go on  ?"))
        assert frames.until(FrameType.PING, 0, flags=ACK) is not None
        app.sendall(headers(3, PAGE))
        assert frames.until(FrameType.HEADERS, 3, flags=END_STREAM) is not None, "the next one is asked for"
        origin.sendall(headers(3, [(b":status", b"299")]))
        ends: dict[int, int] = {}
        got, fields = Frames(app), Decoder()
        while 3 not in ends or 1 not in ends:
            frame = got.next()
            assert frame is not None, "the app's connection was closed"
            if frame[0] == FrameType.HEADERS:
                told = fields.decode(frame[3])
                assert frame[2] == 1 or told == ((b":status", b"299"),)
            if frame[0] == FrameType.RST_STREAM or (frame[0] <= FrameType.HEADERS and frame[1] & END_STREAM):
                ends[frame[2]] = frame[0]
    record = next(one for one in intercepted.stage.records(before) if one.status != 299)
    assert record.error is not None


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_is_taken(intercepted: Play, name: str) -> None:
    allowed = ALLOWED[name]
    before = len(intercepted.stage.all_records())
    request = [(b":method", allowed.method), *without_of(PAGE, b":method")]
    with intercepted.connected(headers(1, request)) as (app, origin):
        asked(origin)
        origin.sendall(allowed.frames)
        frames, fields, status, body, ended = Frames(app), Decoder(), b"", b"", False
        while not ended:
            frame = frames.next()
            assert frame is not None, "the answer was cut short"
            assert frame[0] != FrameType.RST_STREAM
            if frame[0] == FrameType.HEADERS:
                told = dict(fields.decode(frame[3]))
                status = told.get(b":status", status)
            elif frame[0] == FrameType.DATA:
                body += frame[3]
            ended = frame[0] <= FrameType.HEADERS and bool(frame[1] & END_STREAM)
    assert (status, body) == (allowed.status, allowed.body)
    (record, *_) = intercepted.stage.records(before)
    assert (record.error, record.status) == (None, int(status))


def test_a_body_in_answer_to_head_is_none(intercepted: Play) -> None:
    with intercepted.connected(headers(1, [(b":method", b"HEAD"), *without_of(PAGE, b":method")])) as (app, origin):
        frames = asked(origin)
        origin.sendall(headers(1, [(b":status", b"200")], end=False) + write_frame(FrameType.DATA, 1, 1, b"x"))
        found = frames.until(FrameType.RST_STREAM, 1)
        assert found is not None and int.from_bytes(found[3], "big") == ErrorCode.PROTOCOL_ERROR
        got = Frames(app)
        while (frame := got.next()) is not None and frame[0] != FrameType.RST_STREAM:
            assert frame[0] != FrameType.DATA or not frame[3]
        assert frame is not None


def test_in_inspect_every_byte_of_every_vector_arrives_as_it_was_sent(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    vectors = {one.name: one.frames for one in (*CONNECTION_ERRORS, *STREAM_ERRORS)}
    vectors |= {name: one.frames for name, one in ALLOWED.items()}
    with play(tmp_path_factory, "inspect") as one:
        for name, frames in vectors.items():
            with one.connected(headers(1, PAGE)) as (app, origin):
                sending = threading.Thread(target=origin.sendall, args=(frames + MARK,))
                sending.start()
                got = b""
                while not got.endswith(MARK):
                    part = app.recv(65536)
                    assert part, name
                    got += part
                sending.join(PATIENCE)
                assert got == write_settings([]) + frames + MARK, name
