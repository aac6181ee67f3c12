"""Hostile ends on real sockets, against the whole proxy: it stays small, ends them, and serves everybody else.

`calm` asks for a page on a connection of its own before, beside and after: other flows are untouched.  Memory is what
the process has resident; the hostile ends send the same small buffer again and again, so growth is the proxy's.
"""

from __future__ import annotations

import gzip
import logging
import resource
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from tests.conformance.http2_vectors import GET, PAGE, POST, block, data, headers, number, reset
from tests.conformance.stage import HOST, Stage, authority_of, raw_origin, read_to_end, stage
from tests.conformance.test_http2_vectors import HELLO, Frames
from tests.conformance.test_http2_vectors import origin as http2_origin

from pointsman.testing import authority
from pointsman.wire.http2_frames import FrameType
from pointsman.wire.http2_messages import ErrorCode, write_frame, write_settings

GROWTH = 96 << 20  # bytes that the process may grow by
POLICIES = ["relay", "inspect", "intercept"]
REQUEST = b"GET /calm HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ncalm"
BOMB = gzip.compress(bytes(256 << 20), 9)


def http1_origin(peer: socket.socket) -> None:
    """Answers each GET /calm, sends a bomb for /bomb, without end for /endless; takes anything else."""
    seen = b""
    while part := peer.recv(65536):
        seen = (seen + part)[-200_000:]
        while REQUEST in seen:
            seen = seen.replace(REQUEST, b"", 1)
            peer.sendall(OK)
        if seen.startswith(b"GET /bomb") and b"\r\n\r\n" in seen:
            seen = b""
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB)
        while seen.startswith(b"GET /endless") and b"\r\n\r\n" in seen:
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if part else bytes(65536))
            part = b""


@pytest.fixture(scope="module", params=POLICIES)
def clear(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """In front of an origin without TLS."""
    with ExitStack() as stack:
        port = stack.enter_context(raw_origin(http1_origin, tls=False))
        yield stack.enter_context(stage(tmp_path_factory.mktemp("s"), f'default = "{request.param}"', port))


@pytest.fixture(scope="module", params=["inspect", "intercept"])
def http2(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        port = stack.enter_context(raw_origin(http2_origin, "h2"))
        yield stack.enter_context(stage(tmp_path_factory.mktemp("s"), f'default = "{request.param}"', port))


def ask(peer: socket.socket) -> None:
    peer.sendall(REQUEST)
    got = b""
    while not got.endswith(b"calm"):
        part = peer.recv(65536)
        assert part, "cut off"
        got += part


def ask_http2(peer: socket.socket, stream: int) -> None:
    peer.sendall((HELLO if stream == 1 else b"") + headers(stream, PAGE))
    assert Frames(peer).until(FrameType.DATA, stream) is not None


@contextmanager
def calm(one: Stage, caplog: pytest.LogCaptureFixture, *, http2: bool = False) -> Iterator[None]:
    """Somebody else, on one connection that is kept."""
    before = resident()
    with one.connect("h2") if http2 else one.connect(tls=False) as peer:
        turn: Callable[[int], None] = lambda at: ask_http2(peer, at) if http2 else ask(peer)  # noqa: E731
        turn(1)
        yield
        turn(3)
    with one.connect("h2") if http2 else one.connect(tls=False) as peer:
        turn(1)
    assert resident() - before < GROWTH
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR], "a bug of ours"


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def pour(peer: socket.socket, piece: bytes, size: int) -> int:
    """As much of `size` as the other side takes, for at most a second without progress; returns what went."""
    peer.settimeout(1.0)
    sent = 0
    with suppress(OSError):  # reset, closed, or nobody takes more
        while sent < size:
            sent += peer.send(piece)
    return sent


FLOODS: dict[str, tuple[bytes, bytes]] = {
    "a head of endless fields": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X-A: " + b"a" * 1000 + b"\r\n"),
    "a field without end": (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a" * 65536),
    "a target without end": (b"GET /", b"a" * 65536),
    "fields of nothing": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a:\r\n" * 10_000),
    "NULs": (b"", bytes(65536)),
    "NULs in a head": (b"GET / HTTP/1.1\r\nHost: a\0", bytes(65536)),
    "a chunk size without end": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 65536),
    "an extension without end": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536),
    "trailers without end": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"T: 1\r\n" * 10_000),
    "requests without end and nobody reads": (b"", REQUEST * 1000),
    "empty lines": (b"", b"\r\n" * 30_000),
    "records of one byte": (b"", b"\x16\x03\x01\x00\x01\x01" * 10_000),
    "a hello that says it is large": (b"\x16\x03\x01\x40\x00\x01\xff\xff\xff", bytes(65536)),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_http1_or_tls_is_bounded(clear: Stage, caplog: pytest.LogCaptureFixture, name: str) -> None:
    head, piece = FLOODS[name]
    before = len(clear.all_records())
    with calm(clear, caplog), clear.connect(tls=False, buffer=4096) as peer:
        peer.sendall(head)
        pour(peer, piece, 8 << 20)
    assert clear.records(before)


def test_many_that_never_finish_hold_up_nobody(clear: Stage, caplog: pytest.LogCaptureFixture) -> None:
    hello = authority.client_hello(HOST)
    starts = [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbo",
        hello[:1],
        hello[:60],
        hello,
    ]
    with calm(clear, caplog), ExitStack() as stack:
        for turn in range(60):
            peer = stack.enter_context(clear.connect(tls=False))
            peer.sendall(starts[turn % len(starts)])
            if turn % 10 == 9:
                with clear.connect(tls=False) as other:
                    ask(other)
            if turn % 3 == 0:
                abort(peer)
            elif turn % 3 == 1:
                peer.shutdown(socket.SHUT_WR)


def test_who_never_reads_a_response_without_end_costs_what_the_buffers_take(
    clear: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    with calm(clear, caplog), clear.connect(tls=False, buffer=4096) as peer:
        peer.sendall(b"GET /bomb HTTP/1.1\r\nHost: a\r\n\r\n")
        pour(peer, b"GET /bomb HTTP/1.1\r\nHost: a\r\n\r\n", 1 << 20)


# HTTP/2.

HTTP2_FLOODS: dict[str, tuple[bytes, bytes]] = {
    "CONTINUATION": (headers(1, flags=0), write_frame(FrameType.CONTINUATION, 0, 1, b"\0" * 1000)),
    "CONTINUATION of nothing": (headers(1, flags=0), write_frame(FrameType.CONTINUATION, 0, 1) * 1000),
    "SETTINGS": (b"", write_settings([(4, 65535)]) * 1000),
    "PING": (b"", write_frame(FrameType.PING, 0, 0, bytes(8)) * 1000),
    "empty DATA": (headers(1, POST, end=False), data(1, b"") * 1000),
    "PRIORITY": (b"", write_frame(FrameType.PRIORITY, 0, 7, bytes(5)) * 1000),
    "WINDOW_UPDATE": (headers(1), write_frame(FrameType.WINDOW_UPDATE, 0, 1, number(1)) * 1000),
    "frames unknown": (b"", write_frame(0xEE, 0, 0, bytes(16000)) * 4),
}  # fmt: skip


@pytest.mark.parametrize("name", HTTP2_FLOODS)
def test_a_flood_of_http2_frames_is_bounded(http2: Stage, caplog: pytest.LogCaptureFixture, name: str) -> None:
    head, piece = HTTP2_FLOODS[name]
    with calm(http2, caplog, http2=True), http2.connect("h2", buffer=4096) as peer:
        peer.sendall(HELLO + head)
        pour(peer, piece, 4 << 20)


RESETS: dict[str, Callable[[int], bytes]] = {
    "rapid reset": lambda stream: headers(stream) + reset(stream),
    "made you reset": lambda stream: headers(stream) + write_frame(FrameType.WINDOW_UPDATE, 0, stream, number(0)),
    "more body after the end": lambda stream: headers(stream) + data(stream),
}  # fmt: skip


@pytest.mark.parametrize("name", RESETS)
@pytest.mark.parametrize("http2", ["intercept"], indirect=True)
def test_streams_that_cost_the_client_nothing_end_the_connection(
    http2: Stage, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with calm(http2, caplog, http2=True), http2.connect("h2") as peer:
        peer.sendall(HELLO)
        with suppress(OSError):
            for stream in range(1, 4001, 2):
                peer.sendall(RESETS[name](stream))
        goaway = Frames(peer).until(FrameType.GOAWAY, 0)
        assert goaway is not None and goaway[3][4:8] == number(ErrorCode.ENHANCE_YOUR_CALM)


def test_a_few_bytes_of_hpack_that_stand_for_megabytes_are_bounded(
    http2: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    large = b"\x40\x01x" + b"\x7f\xa1\x1e" + b"a" * 4000  # into the table, and then named again and again
    bomb = block(GET) + large + b"\xbe" * 12_000
    with calm(http2, caplog, http2=True), http2.connect("h2") as peer:
        frames = b"".join(write_frame(FrameType.HEADERS, 5, stream, bomb) for stream in range(1, 41, 2))
        peer.sendall(HELLO)
        pour(peer, frames, len(frames))


# An end at every moment.


def abort(peer: socket.socket) -> None:
    """RST, not FIN."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


class Steps:
    """A TLS client or server on a plain socket that goes one step at a time: half a flight, half a request."""

    def __init__(self, peer: socket.socket, context: ssl.SSLContext, *, server: bool) -> None:
        self._peer = peer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server, None if server else HOST)
        self._server = server

    def run(self) -> Iterator[None]:
        """Yields at every moment where the peer could vanish."""
        yield
        established = False
        while not established:
            try:
                self._tls.do_handshake()
                established = True
            except ssl.SSLWantReadError:
                pass
            yield from self._flush()
            if not established:
                yield from self._fill()
        if not self._server:
            self._tls.write(REQUEST)
            yield from self._flush()
            yield from self._read(b"calm")
        else:
            yield from self._read(b"\r\n\r\n")
            self._tls.write(OK)
            yield from self._flush()
            yield from self._fill()

    def _flush(self) -> Iterator[None]:
        flight = self._out.read()
        for part in (flight[: len(flight) // 2], flight[len(flight) // 2 :]):
            if part:
                self._peer.sendall(part)
                yield

    def _fill(self) -> Iterator[None]:
        part = self._peer.recv(65536)
        if not part:
            raise ConnectionError("the other side has ended")
        self._in.write(part)
        yield

    def _read(self, end: bytes) -> Iterator[None]:
        got = b""
        while not got.endswith(end):
            try:
                got += self._tls.read(65536)
            except ssl.SSLWantReadError:
                yield from self._fill()


def go(
    peer: socket.socket, context: ssl.SSLContext, moments: int, *, server: bool, ending: str,
    before_end: Callable[[], object] = lambda: None,
) -> bool:  # fmt: skip
    """As far as `moments`, then end it; False: it was over before."""
    reached = False
    with suppress(OSError, ssl.SSLError):
        for at, _ in enumerate(Steps(peer, context, server=server).run()):
            if at == moments:
                reached = True
                break
    before_end()
    if ending == "rst":
        abort(peer)
    else:
        peer.close()
    return reached


def is_accepted(one: Stage, before: int) -> None:
    """Whoever connected earlier, since this one is at its end.  A reset before that leaves nobody to tell of."""
    with one.connect(tls=False) as late:
        with suppress(OSError):  # reset already
            late.shutdown(socket.SHUT_WR)
        one.records(before)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("who", ["app", "origin"])
@pytest.mark.parametrize("ending", ["rst", "fin"])
def test_an_end_at_every_moment_of_an_exchange_leaves_one_record_and_no_bug(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, policy: str, who: str, ending: str
) -> None:
    moments = [10**6]  # of the origin; far beyond the end
    reached: list[bool] = []
    served = authority.server_context(HOST)

    def serve(peer: socket.socket) -> None:
        reached.append(go(peer, served, moments[0], server=True, ending=ending))

    with raw_origin(serve, tls=False) as port, stage(tmp_path, f'default = "{policy}"', port) as one:
        # Of both roots: an app that goes in a handshake may mean that it refuses us, and is relayed from then on.
        context = authority_of(one.proxy)
        context.load_verify_locations(cadata=authority.pem(authority.root()))
        for at in range(40):
            before, reached[:] = len(one.all_records()), []
            moments[0] = at if who == "origin" else 10**6
            own = go(one.connect(tls=False), context, at if who == "app" else 10**6, server=False, ending=ending,
                     before_end=partial(is_accepted, one, before))  # fmt: skip
            one.records(before + 1)
            assert len(one.all_records()) == before + 2
            if not (own if who == "app" else any(reached)):
                break
        assert at >= 5, "an exchange has more moments than that"
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


def test_a_decompression_bomb_costs_who_looks_a_bounded_amount_and_arrives_as_it_was(tmp_path: Path) -> None:
    addon = tmp_path / "look.py"
    seen = tmp_path / "seen"
    addon.write_text(
        "from pathlib import Path\n"
        "def response(flow):\n"
        "    try:\n"
        f"        Path({str(seen)!r}).write_text(str(len(flow.response.content)))\n"
        "    except ValueError as error:\n"
        f"        Path({str(seen)!r}).write_text('refused')\n"
    )
    with (
        raw_origin(http1_origin, tls=False) as port,
        stage(tmp_path, 'default = "intercept"', port, addons=(str(addon),)) as one,
        one.connect(tls=False) as peer,
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peer.sendall(b"GET /bomb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = read_to_end(peer)
        assert got.endswith(BOMB)
        assert seen.read_text() == "refused"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
        assert grown < 200 << 20, "less than what it stands for"
