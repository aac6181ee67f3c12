"""HTTP CONNECT: what is asked, and every way in which a proxy may answer."""

from __future__ import annotations

from base64 import b64decode
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.wire.http_connect import HEAD_LIMIT, connect_request, parse_response
from pointsman.wire.proxy_error import ProxyError

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 x\r\nContent-Length: 5\r\n\r\n"


def test_a_request_names_the_destination_twice_and_the_user_once() -> None:
    asked = connect_request("a.example", 443, ("alice", "s:cret"))
    lines = asked.decode().split("\r\n")

    assert lines[:2] == ["CONNECT a.example:443 HTTP/1.1", "Host: a.example:443"]
    assert lines[3:] == ["", ""]
    name, _, token = lines[2].partition(": Basic ")
    assert (name, b64decode(token)) == ("Proxy-Authorization", b"alice:s:cret")
    assert connect_request(ip_address("2001:db8::1"), 1, None).startswith(b"CONNECT [2001:db8::1]:1 HTTP/1.1\r\n")


@given(st.binary(max_size=40))
@example(b"\r\n\r\n")
def test_the_head_ends_where_it_ends_and_the_rest_is_the_tunnel(rest: bytes) -> None:
    for head in (ESTABLISHED, b"HTTP/1.0 200\n\n", b"HTTP/1.1 100 Continue\r\n\r\n" + ESTABLISHED):
        for cut in range(len(head)):
            assert parse_response(head[:cut]) is None, head[:cut]
        assert parse_response(head + rest) == len(head)


@pytest.mark.parametrize(
    ("answer", "words", "about_target"),
    [
        (b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm=x\r\n\r\n",
         "proxy authentication required, by Basic (HTTP 407)", False),
        (b"HTTP/1.1 407 Auth\r\n\r\n", "proxy authentication required (HTTP 407)", False),
        (b"HTTP/1.1 403 No\r\n\r\n", "forbidden (HTTP 403)", True),
        (b"HTTP/1.1 405 No\r\n\r\n", "CONNECT not allowed (HTTP 405)", False),
        (b"HTTP/1.1 502 No\r\n\r\n", "bad gateway (HTTP 502)", True),
        (b"HTTP/1.1 504 No\r\n\r\n", "gateway timeout (HTTP 504)", True),
        (b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n", "refused (HTTP 302)", True),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "HTTP 101 in answer to CONNECT", False),
        (b"HTTP/2 200\r\n\r\n", "its answer is no HTTP/1", False),
        (b"\x05\x00", "its answer is no HTTP/1", False),
        (b"HTTP/1.1 20x OK\r\n\r\n", "its answer is no HTTP/1", False),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 4000,
         f"the head of its answer is longer than {HEAD_LIMIT} bytes", False),
        (b"HTTP/1.1 100 Go on\r\n\r\n" * 2000, f"the head of its answer is longer than {HEAD_LIMIT} bytes", False),
    ],
)  # fmt: skip
def test_every_refusal_has_words_and_says_whose_fault_it_is(answer: bytes, words: str, about_target: bool) -> None:
    with pytest.raises(ProxyError) as caught:
        parse_response(answer)
    assert (str(caught.value), caught.value.about_target) == (words, about_target)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: b"HTTP/1.1 " + data))
def test_any_bytes_give_a_value_or_the_error_of_the_peer(data: bytes) -> None:
    try:
        parse_response(data)
    except ProxyError as error:
        assert str(error).isprintable()
