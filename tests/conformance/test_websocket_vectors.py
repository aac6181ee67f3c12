"""Every rule of websocket_vectors on real sockets, in both directions: kept by the whole proxy when somebody listens to
the messages, passed on byte by byte in inspect."""

from __future__ import annotations

import queue
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from tests.conformance.stage import HOST, Stage, raw_origin, read_to_end, stage
from tests.conformance.websocket_vectors import ALLOWED, CLOSE, PING, REFUSED, Ear, Message, Vector, close, frame

from pointsman.testing.proxy import PATIENCE

ADDON = "def websocket_message(flow):\n    assert flow.websocket.messages\n"
MARK = b"and that was all."
DIRECTIONS = pytest.mark.parametrize("from_app", [True, False], ids=["from the app", "from the origin"])


class Room:
    """A proxy with an origin that switches protocols at once; the test plays both ends after that."""

    def __init__(self, stage_: Stage, opened: queue.Queue[tuple[socket.socket, threading.Event]], *, tls: bool) -> None:
        self.stage = stage_
        self._opened = opened
        self._tls = tls

    @contextmanager
    def talk(self, extensions: str) -> Iterator[tuple[socket.socket, socket.socket]]:
        """App and origin."""
        head = f"GET /chat HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        with self.stage.connect(tls=self._tls) as app:
            app.sendall(f"{head}X-Extensions: {extensions}\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += app.recv(1)
            assert answer.startswith(b"HTTP/1.1 101 ")
            origin, over = self._opened.get(timeout=PATIENCE)
            try:
                yield app, origin
            finally:
                over.set()


@contextmanager
def room(folder: str, tmp_path_factory: pytest.TempPathFactory, policy: str, *, tls: bool = False) -> Iterator[Room]:
    opened: queue.Queue[tuple[socket.socket, threading.Event]] = queue.Queue()

    def serve(peer: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += peer.recv(1)
        asked = re.search(rb"X-Extensions: (.*)\r\n", head)
        agreed = b"Sec-WebSocket-Extensions: " + asked[1] + b"\r\n" if asked is not None and asked[1] else b""
        peer.sendall(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + agreed + b"\r\n")
        over = threading.Event()
        opened.put((peer, over))
        over.wait(PATIENCE)

    directory = tmp_path_factory.mktemp(folder)
    (directory / "listens.py").write_text(ADDON)
    addons = (str(directory / "listens.py"),) if policy == "intercept" else ()
    with raw_origin(serve, tls=tls) as port, stage(directory, f'default = "{policy}"', port, addons=addons) as one:
        yield Room(one, opened, tls=tls)


@pytest.fixture(scope="module")
def intercepted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with room("intercept", tmp_path_factory, "intercept") as one:
        yield one


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with room("encrypted", tmp_path_factory, "intercept", tls=True) as one:
        yield one


def ear_of(extensions: str, *, from_app: bool) -> Ear:
    """For what the other end receives of this direction."""
    who = "client" if from_app else "server"
    bits = re.search(rf'{who}_max_window_bits="?(\d+)', extensions)
    return Ear(
        masked=from_app,
        bits=(int(bits[1]) if bits else 15) if extensions else None,
        takes_over=f"{who}_no_context_takeover" not in extensions,
    )


def hear(peer: socket.socket, ear: Ear, last: Message | None = None) -> list[Message]:
    """Until `last` came, or to the end."""
    heard: list[Message] = []
    with suppress(ConnectionError, ssl.SSLError):
        while (last is None or last not in heard) and (data := peer.recv(65536)):
            heard += ear.feed(data)
    return heard


def takes(one: Room, vector: Vector, *, from_app: bool) -> None:
    with one.talk(vector.extensions) as (app, origin):
        sender, other = (app, origin) if from_app else (origin, app)
        sender.sendall(vector.frames(from_app))
        ear = ear_of(vector.extensions, from_app=from_app)
        if vector.wants[-1][0] == CLOSE:
            sender.sendall(frame(from_app, PING, MARK))  # which comes too late
            assert hear(other, ear, vector.wants[-1]) == list(vector.wants)
            sender.shutdown(socket.SHUT_WR)
            assert hear(other, ear) == []
            return
        sender.sendall(frame(from_app, PING, MARK))
        assert hear(other, ear, (PING, MARK)) == [*vector.wants, (PING, MARK)]
        other.sendall(frame(not from_app, PING, MARK))
        back = ear_of(vector.extensions, from_app=not from_app)
        assert hear(sender, back, (PING, MARK)) == [(PING, MARK)], "the other way is open"


@DIRECTIONS
@pytest.mark.parametrize("vector", ALLOWED, ids=lambda one: one.name)
def test_what_is_allowed_arrives_as_it_was_meant(intercepted: Room, vector: Vector, from_app: bool) -> None:
    takes(intercepted, vector, from_app=from_app)


@DIRECTIONS
@pytest.mark.parametrize("vector", ALLOWED[::9], ids=lambda one: one.name)
def test_and_within_tls(encrypted: Room, vector: Vector, from_app: bool) -> None:
    takes(encrypted, vector, from_app=from_app)


@DIRECTIONS
@pytest.mark.parametrize("vector", REFUSED, ids=lambda one: one.name)
def test_what_is_forbidden_ends_it_with_its_code_and_a_record(
    intercepted: Room, vector: Vector, from_app: bool
) -> None:
    before = len(intercepted.stage.all_records())
    assert vector.code is not None
    end = (CLOSE, close(vector.code))
    with intercepted.talk(vector.extensions) as (app, origin):
        sender, other = (app, origin) if from_app else (origin, app)
        ear = ear_of(vector.extensions, from_app=from_app)
        sender.sendall(vector.frames(from_app))
        assert hear(other, ear, end) == [*vector.wants, end]
        # It has not heard of the close frame when it says this, and then answers it.
        other.sendall(frame(not from_app, PING, b"still here") + frame(not from_app, CLOSE, close(1000)))
        back = ear_of(vector.extensions, from_app=not from_app)
        assert hear(sender, back) == [(PING, b"still here"), end], "and then the connection is closed"
        assert hear(other, ear) == []
    errors = [one.error for one in intercepted.stage.records(before + 1) if one.method == "WEBSOCKET"]
    assert len(errors) == 1 and errors[0] is not None and errors[0].startswith("refused: the WebSocket has ")


@DIRECTIONS
def test_in_inspect_every_byte_of_every_vector_arrives_as_it_was_sent(
    tmp_path_factory: pytest.TempPathFactory, from_app: bool
) -> None:
    with room("inspect", tmp_path_factory, "inspect") as one:
        for vector in (*ALLOWED, *REFUSED):
            with one.talk(vector.extensions) as (app, origin):
                sender, other = (app, origin) if from_app else (origin, app)
                sender.sendall(vector.frames(from_app) + MARK)
                sender.shutdown(socket.SHUT_WR)
                assert read_to_end(other) == vector.frames(from_app) + MARK, vector.name


def test_a_vector_is_read_as_it_was_meant() -> None:
    """One with a typo would be something else than it says."""
    for masks in (True, False):
        for vector in ALLOWED:
            ear = ear_of(vector.extensions, from_app=masks)
            found = []
            for message in ear.feed(vector.frames(masks)):
                found.append(message)
                if message[0] == CLOSE:
                    break
            assert found == list(vector.wants), vector.name
    assert len({one.name for one in (*ALLOWED, *REFUSED)}) == len(ALLOWED) + len(REFUSED)
