"""The short way sees what the long way sees, and leaves to it whatever is not plain."""

from __future__ import annotations

from unittest.mock import patch

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.http1 import Http1Observer
from pointsman.engine.whole_message import RepeatedRequest, WholeResponse

FIELDS = b"\r\nHost: a.example\r\nCookie: a=b\r\n\r\n"
GET = b"GET /a HTTP/1.1" + FIELDS
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
REQUESTS = (
    GET,
    b"GET /b?c HTTP/1.1" + FIELDS,
    b"HEAD /h HTTP/1.1" + FIELDS,
    b"POST /p HTTP/1.1" + FIELDS,
    b"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 8\r\n\r\n1234\r\n\r\n",
    b"GET /d HTTP/1.1\r\nHost: other.example\r\n\r\n",
    b"GET /d HTTP/1.1\r\nhOST: mixed.example\r\n\r\n",
    b"GET /e HTTP/1.0" + FIELDS,
    b"GET /f HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1" + FIELDS,
    b"GET /\x01 HTTP/1.1" + FIELDS,
    b"GET / x HTTP/1.1" + FIELDS,
    b"G\xc4T /a HTTP/1.1" + FIELDS,
)
RESPONSES = (
    OK,
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nBad Name: 5\r\nContent-Length: 0\r\n\r\n",
    OK + OK,
    OK[:-2],
    b"\x00",
)
Script = list[tuple[bytes, bytes]]


def seen(script: Script) -> list[Exchange]:
    observer = Http1Observer()
    for step, (up, down) in enumerate(script):
        observer.receive(Side.DOWNSTREAM, up, step + 0.1)
        observer.receive(Side.UPSTREAM, down, step + 0.2)
    observer.end(Side.UPSTREAM, 9.0)
    observer.cut(9.0, "over")
    return observer.take()


@given(st.lists(st.tuples(st.sampled_from(REQUESTS), st.sampled_from(RESPONSES)), max_size=6))
def test_what_is_told_does_not_depend_on_the_way(script: Script) -> None:
    with patch.object(RepeatedRequest, "read", lambda *_: None), patch.object(WholeResponse, "read", lambda *_: None):
        the_long_way = seen(script)
    assert seen(script) == the_long_way


def test_most_of_a_kept_connection_goes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    observer = Http1Observer()
    observer.receive(Side.DOWNSTREAM, GET, 1.0)
    observer.receive(Side.UPSTREAM, OK, 1.0)
    monkeypatch.setattr(Http1Observer, "_read", None)
    for _ in range(3):
        observer.receive(Side.DOWNSTREAM, b"GET /b HTTP/1.1" + FIELDS, 1.0)
        observer.receive(Side.UPSTREAM, OK, 1.0)

    assert [exchange.path for exchange in observer.take()] == ["/a", "/b", "/b", "/b"]
    assert all(isinstance(exchange.host, str) for exchange in observer.take())


@pytest.mark.parametrize(
    ("data", "status"),
    [(OK, 200), (RESPONSES[1], 304), (RESPONSES[2], 204), (RESPONSES[3], 201)]
    + [(data, None) for data in RESPONSES[4:]],
)
def test_a_response_is_whole_or_left_to_others(data: bytes, status: int | None) -> None:
    whole = WholeResponse()

    assert whole.read(data) == status
    assert whole.read(OK) == 200, "whatever was before, it begins anew"


@pytest.mark.parametrize("data", [*REQUESTS[4:], GET + GET, GET[:-1], b"", b"x" + FIELDS])
def test_only_the_same_fields_are_a_repetition(data: bytes) -> None:
    repeated = RepeatedRequest()
    repeated.remember(GET, "a.example")

    again = repeated.read(b"DELETE /x HTTP/1.1" + FIELDS)
    assert again is not None and (again.method, again.target, again.host) == ("DELETE", b"/x", "a.example")
    assert repeated.read(data) is None


@pytest.mark.parametrize("first", [REQUESTS[4], GET + GET, b"GET http://a/ HTTP/1.1" + FIELDS])
def test_a_request_that_is_not_plain_is_not_remembered(first: bytes) -> None:
    repeated = RepeatedRequest()
    repeated.remember(first, "a.example")

    assert repeated.read(GET) is None


AGAIN = (
    OK,
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHELLO",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!",
    b"HTTP/1.1 203 OK\r\nContent-Length: 5\r\n\r\nhello",
    RESPONSES[2],
    RESPONSES[3],
    b"HTTP/1.1 201 Created\r\nTRANSFER-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 201 Created\r\nTRANSFER-encoding: chunked\r\n\r\n6\r\nhello\r\n0\r\n\r\n",  # as long, and not whole
    OK[:-1],
    OK + b"x",
)


@given(st.lists(st.sampled_from(AGAIN), max_size=20))
def test_what_a_response_is_does_not_depend_on_those_before(responses: list[bytes]) -> None:
    whole = WholeResponse()

    assert [whole.read(data) for data in responses] == [WholeResponse().read(data) for data in responses]


def test_the_same_head_is_not_parsed_again() -> None:
    whole = WholeResponse()
    whole.read(OK)

    with patch.object(httptools, "HttpResponseParser", side_effect=AssertionError("parsed")):
        assert whole.read(AGAIN[1]) == 200


def test_a_server_that_never_says_the_same_twice_is_not_listened_to_for_long() -> None:
    whole = WholeResponse()
    for number in range(10, 20):
        whole.read(b"HTTP/1.1 200 OK\r\nETag: %d\r\nContent-Length: 5\r\n\r\nhello" % number)
    whole.read(OK)
    whole.close()

    with (
        patch.object(httptools, "HttpResponseParser", side_effect=AssertionError("parsed")),
        pytest.raises(AssertionError),
    ):
        whole.read(OK)
