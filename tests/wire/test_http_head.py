from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.wire.http_head import LIMIT, HttpHead, NoHead, parse_http_head

REQUEST = b"GET /a?b HTTP/1.1\r\nAccept: */*\r\nHost: Example.com:8080\r\n\r\n"


def feed(chunks: list[bytes]) -> HttpHead | NoHead:
    held = b""
    answer: HttpHead | NoHead = NoHead.NEED_DATA
    for chunk in chunks:
        held += chunk
        answer = parse_http_head(held)
        if isinstance(answer, HttpHead) or answer is NoHead.NOT_HTTP:
            return answer
    return answer


def test_the_host_of_a_request_is_found() -> None:
    assert parse_http_head(REQUEST + b"body") == HttpHead("GET", "/a?b", "example.com")


@pytest.mark.parametrize(
    ("request_bytes", "host"),
    [
        (b"GET http://u:p@a.example:81/x HTTP/1.1\r\nHost: b.example\r\n\r\n", "a.example"),
        (b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", "a.example"),
        (b"GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n\r\n", "2001:db8::1"),
        (b"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "192.0.2.1"),
        (b"GET / HTTP/1.1\r\nHost:   a.example\t\r\n\r\n", "a.example"),
        (b"GET / HTTP/1.0\n\n", None),
        (b"GET / HTTP/1.1\r\nHost: not a host\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: [nonsense\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nX: Host: a.example\r\n\r\n", None),
    ],
)
def test_the_host_is_read_where_http_puts_it(request_bytes: bytes, host: str | None) -> None:
    head = parse_http_head(request_bytes)

    assert isinstance(head, HttpHead)
    assert head.host == host


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01", b"SSH-2.0-x\r\n", b"get / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\n",
     b"OPTIONS rtsp://x RTSP/1.0\r\n", b"GET  / HTTP/1.1\r\n", b"GET /\r\n"],
)  # fmt: skip
def test_what_http_never_sends_is_not_http(data: bytes) -> None:
    assert parse_http_head(data) is NoHead.NOT_HTTP


def test_a_method_alone_makes_it_certain_that_an_http_client_speaks() -> None:
    assert parse_http_head(b"") is NoHead.NEED_DATA
    assert parse_http_head(b"GE") is NoHead.NEED_DATA
    assert parse_http_head(b"GET ") is NoHead.NEED_HEAD
    assert parse_http_head(REQUEST[:-1]) is NoHead.NEED_HEAD


@given(st.binary(max_size=40), st.data())
def test_how_tcp_cuts_the_bytes_does_not_matter(junk: bytes, data: st.DataObject) -> None:
    streams = [junk, REQUEST + junk, REQUEST[:-1], b"GET " + junk, b"POST / HTTP/1.1\n" + junk]
    stream = data.draw(st.sampled_from(streams))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]

    assert feed(chunks) == feed([stream])


@given(st.binary(max_size=200))
def test_any_bytes_give_an_answer(data: bytes) -> None:
    parse_http_head(data)
    parse_http_head(b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n")


def test_an_endless_head_is_given_up() -> None:
    assert parse_http_head(b"GET /" + b"a" * LIMIT) is NoHead.NOT_HTTP
    assert parse_http_head(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * LIMIT) is NoHead.NOT_HTTP
