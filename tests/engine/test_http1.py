from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.engine.http1 import PIPELINE_LIMIT, Http1Observer
from pointsman.engine.http1_requests import HEAD_LIMIT
from pointsman.engine.http1_responses import BYTEWISE_LIMIT

UP, DOWN = Side.DOWNSTREAM, Side.UPSTREAM
GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"
HEAD = b"HEAD /h HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
HEAD_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
UPGRADE = b"GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
Script = list[tuple[Side, bytes]]


def watch(script: Script, *, end: bool = False) -> list[Exchange]:
    observer = Http1Observer()
    done = []
    for step, (side, data) in enumerate(script):
        observer.receive(side, data, float(step))
        done += observer.take()
    if end:
        observer.end(DOWN, float(len(script)))
        done += observer.take()
    return done


def told(exchanges: list[Exchange]) -> list[tuple[str, str, int | None]]:
    return [(exchange.method, exchange.path, exchange.status) for exchange in exchanges]


def test_an_exchange_is_told_with_host_bytes_and_times() -> None:
    (exchange,) = watch([(UP, GET), (DOWN, OK)])

    assert exchange == Exchange("GET", "/a", "a.example", 200, len(GET), len(OK), 0.0, 1.0)


SCRIPTS: dict[str, tuple[Script, list[tuple[str, str, int | None]]]] = {
    "one after the other": (
        [(UP, GET), (DOWN, OK), (UP, GET), (DOWN, CHUNKED)], [("GET", "/a", 200), ("GET", "/a", 201)],
    ),
    "pipelined": ([(UP, GET + GET), (DOWN, OK + CHUNKED)], [("GET", "/a", 200), ("GET", "/a", 201)]),
    "head, then get": ([(UP, HEAD + GET), (DOWN, HEAD_OK + OK)], [("HEAD", "/h", 200), ("GET", "/a", 200)]),
    "get, then head, then get": (
        [(UP, GET + HEAD + GET), (DOWN, CHUNKED + HEAD_OK + OK)],
        [("GET", "/a", 201), ("HEAD", "/h", 200), ("GET", "/a", 200)],
    ),
    "head without a length": (
        [(UP, HEAD), (DOWN, b"HTTP/1.1 404 No\r\n\r\n"), (UP, GET), (DOWN, OK)],
        [("HEAD", "/h", 404), ("GET", "/a", 200)],
    ),
    "head after an interim response": ([(UP, HEAD), (DOWN, CONTINUE + HEAD_OK)], [("HEAD", "/h", 200)]),
    "no body by status": ([(UP, GET + GET), (DOWN, NOT_MODIFIED + OK)], [("GET", "/a", 304), ("GET", "/a", 200)]),
    "interim responses": ([(UP, GET), (DOWN, CONTINUE + CONTINUE + OK)], [("GET", "/a", 200)]),
    "upgraded": ([(UP, UPGRADE), (DOWN, SWITCHED + b"\x81\x05hello"), (UP, GET)], [("GET", "/u", 101)]),
    "upgrade declined": ([(UP, UPGRADE), (DOWN, OK), (UP, GET), (DOWN, OK)], [("GET", "/u", 200), ("GET", "/a", 200)]),
    "upgrade declined, more had come": (
        [(UP, UPGRADE + GET), (DOWN, OK), (DOWN, OK)], [("GET", "/u", 200), ("GET", "/a", 200)],
    ),
    "a tunnel": (
        [(UP, b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"), (DOWN, b"HTTP/1.1 200 OK\r\n\r\n\x16\x03"), (UP, GET)],
        [("CONNECT", "b:443", 200)],
    ),
    "a tunnel refused": (
        [(UP, b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"),
         (DOWN, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"), (UP, GET), (DOWN, OK)],
        [("CONNECT", "b:443", 403), ("GET", "/a", 200)],
    ),
    "a request with a chunked body": (
        [(UP, b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET), (DOWN, OK + OK)],
        [("POST", "/p", 200), ("GET", "/a", 200)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_framing_of_http_is_followed(name: str) -> None:
    script, expected = SCRIPTS[name]

    assert told(watch(script)) == expected


@settings(max_examples=300)
@given(st.sampled_from(sorted(SCRIPTS)), st.data())
def test_how_tcp_cuts_the_bytes_does_not_matter(name: str, data: st.DataObject) -> None:
    script, expected = SCRIPTS[name]
    cut: Script = []
    for side, stream in script:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
        cut += [(side, stream[a:b]) for a, b in pairwise([0, *cuts, len(stream)])]

    exchanges = watch(cut)

    assert told(exchanges) == expected


def test_the_bytes_of_exchanges_one_after_the_other_add_up() -> None:
    exchanges = watch([(UP, GET), (DOWN, OK), (UP, HEAD), (DOWN, HEAD_OK)])

    assert [exchange.bytes_up for exchange in exchanges] == [len(GET), len(HEAD)]
    assert [exchange.bytes_down for exchange in exchanges] == [len(OK), len(HEAD_OK)]


def test_a_body_until_the_end_of_the_connection_ends_with_it() -> None:
    (exchange,) = watch([(UP, GET), (DOWN, b"HTTP/1.0 200 OK\r\n\r\nabc")], end=True)

    assert (exchange.status, exchange.error) == (200, None)


@pytest.mark.parametrize("cut", [OK[:-1], CHUNKED[:-2]])
def test_a_response_that_is_cut_short_is_told_as_such(cut: bytes) -> None:
    (exchange,) = watch([(UP, GET), (DOWN, cut)], end=True)

    assert exchange.error == "the response was cut short"


def test_requests_without_an_answer_are_told_when_the_connection_is_cut() -> None:
    observer = Http1Observer()
    observer.receive(UP, GET + b"GET /unfin", 1.0)

    observer.cut(3.0, "downstream lost")

    (exchange,) = observer.take()
    assert (exchange.path, exchange.status, exchange.error, exchange.ended) == ("/a", None, "downstream lost", 3.0)


@given(st.lists(st.tuples(st.sampled_from(Side), st.binary(max_size=60)), max_size=6), st.sampled_from(sorted(SCRIPTS)))
def test_any_bytes_at_any_time_are_survived(junk: Script, name: str) -> None:
    watch(junk, end=True)
    watch([*SCRIPTS[name][0], *junk], end=True)
    watch([*SCRIPTS[name][0][:1], *junk], end=True)


def test_what_is_not_http_ends_the_watching_and_nothing_else() -> None:
    observer = Http1Observer()
    observer.receive(UP, GET, 0.0)
    observer.receive(DOWN, b"\x00\x01\x02", 1.0)
    observer.receive(DOWN, OK, 2.0)

    assert observer.take() == []
    observer.cut(3.0, "closed")
    assert told(observer.take()) == [("GET", "/a", None)]


def test_an_answer_to_nothing_ends_the_watching() -> None:
    assert watch([(DOWN, OK), (UP, GET), (DOWN, OK)]) == []


def test_a_long_path_is_cut() -> None:
    (exchange,) = watch([(UP, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n"), (DOWN, OK)])

    assert len(exchange.path) == PATH_LIMIT


def test_an_endless_head_is_not_kept() -> None:
    field = b"a: " + b"b" * 1000 + b"\r\n"
    many = [field] * (HEAD_LIMIT // len(field) + 2)

    for side, start in ((UP, b"GET / HTTP/1.1\r\n"), (DOWN, b"HTTP/1.1 200 OK\r\n")):
        observer = Http1Observer()
        if side is DOWN:
            observer.receive(UP, GET, 0.0)
        observer.receive(side, start, 0.0)
        for part in many:
            observer.receive(side, part, 0.0)
        assert not observer.watching


def test_a_long_pipeline_is_not_kept() -> None:
    observer = Http1Observer()
    observer.receive(UP, GET * (PIPELINE_LIMIT + 1), 0.0)

    assert not observer.watching


def test_a_large_response_before_a_pipelined_head_is_given_up_rather_than_read_byte_by_byte() -> None:
    observer = Http1Observer()
    observer.receive(UP, GET + HEAD, 0.0)
    observer.receive(DOWN, CHUNKED_HEAD + b"fffff\r\n" + b"x" * BYTEWISE_LIMIT, 1.0)

    assert not observer.watching
