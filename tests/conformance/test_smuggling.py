"""Request smuggling: what two readers could read differently is refused, in both directions, before it leaves.

The vectors are the RFCs' own rules (RFC 9110 5.5, 7.2; RFC 9112 2.2, 2.3, 3, 5, 6, 7.1), one broken at a time.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.testing.memory import APP, ORIGIN, Rig
from pointsman.wire.http1_heads import FIELDS_LIMIT, HEAD_LIMIT, HeadError, parse_request, take_head

CLEAR = ("192.0.2.1", 80)
FIRST = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body


REQUESTS: dict[str, tuple[bytes, int]] = {
    "CL.TE": (post(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nG"), 400),
    "TE.CL": (post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"5c\r\n"), 400),
    "two lengths": (post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"), 400),
    "the same length twice": (post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), 400),
    "a list of lengths": (post(b"Content-Length: 5, 5\r\n", b"hello"), 400),
    "a length with a sign": (post(b"Content-Length: +5\r\n", b"hello"), 400),
    "a hexadecimal length": (post(b"Content-Length: 0x5\r\n", b"hello"), 400),
    "a negative length": (post(b"Content-Length: -1\r\n"), 400),
    "an empty length": (post(b"Content-Length:\r\n"), 400),
    "a length of Arabic digits": (post(b"Content-Length: \xd9\xa5\r\n"), 400),
    "an endless length": (post(b"Content-Length: " + b"9" * 40 + b"\r\n"), 400),
    "two codings": (post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400),
    "a coding nobody knows": (post(b"Transfer-Encoding: xchunked\r\n"), 501),
    "chunked and then another": (post(b"Transfer-Encoding: chunked, identity\r\n"), 501),
    "identity": (post(b"Transfer-Encoding: identity\r\n"), 501),
    "a quoted coding": (post(b'Transfer-Encoding: "chunked"\r\n'), 501),
    "a vertical tab before the coding": (post(b"Transfer-Encoding: \x0bchunked\r\n"), 400),
    "a coding in HTTP/1.0": (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a space before the colon": (post(b"Transfer-Encoding : chunked\r\n"), 400),
    "a tab before the colon": (post(b"Content-Length\t: 5\r\n"), 400),
    "folding": (post(b"X: a\r\n b\r\n"), 400),
    "folding with a tab": (post(b"Transfer-Encoding:\r\n\tchunked\r\n"), 400),
    "a first line that folds": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "a bare LF between fields": (post(b"X: a\nTransfer-Encoding: chunked\r\n"), 400),
    "a bare LF after the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "a bare CR in a value": (post(b"X: a\rTransfer-Encoding: chunked\r\n"), 400),
    "a NUL in a value": (post(b"X: a\0b\r\n"), 400),
    "a NUL in a name": (post(b"X\0: a\r\n"), 400),
    "a DEL in a value": (post(b"X: a\x7f\r\n"), 400),
    "a name with a slash": (post(b"X/Y: a\r\n"), 400),
    "a name outside ASCII": (post(b"X\xc3\xa4: a\r\n"), 400),
    "an empty name": (post(b": a\r\n"), 400),
    "a line without a colon": (post(b"X\r\n"), 400),
    "no Host": (b"GET / HTTP/1.1\r\nX: a\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "the same Host twice": (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    "a Host with a space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a Host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "two spaces in the request line": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tab in the request line": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a control character in the target": (b"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target without a slash": (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT without a port": (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a method that is no token": (b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no version": (b"GET /\r\nHost: a\r\n\r\n", 400),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "a small http": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "too large a head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * HEAD_LIMIT + b"\r\n\r\n", 431),
    "too many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * FIELDS_LIMIT + b"\r\n", 431),
    "nothing but empty lines": (b"\r\n" * 20, 400),
}
CHUNKS: dict[str, bytes] = {
    "no size": b"\r\n",
    "a size with a sign": b"+5\r\nhello\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n",
    "a size with an underscore": b"1_0\r\n",
    "a negative size": b"-1\r\n",
    "a space before the size": b" 5\r\nhello\r\n",
    "a space after the size": b"5 \r\nhello\r\n",
    "a size that overflows": b"f" * 17 + b"\r\n",
    "a bare LF after the size": b"5\nhello\r\n",
    "a bare CR in an extension": b"5;a\rb\r\nhello\r\n",
    "an extension that never ends": b"5;" + b"a" * 5000,
    "data longer than its size": b"3\r\nhello\r\n",
    "no CRLF after the data": b"5\r\nhello0\r\n\r\n",
    "a bare LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "a trailer that folds": b"0\r\nX: a\r\n b\r\n\r\n",
    "a length in the trailers": b"0\r\nContent-Length: 5\r\n\r\n",
    "a Host in the trailers": b"0\r\nHost: b\r\n\r\n",
}
RESPONSES: dict[str, bytes] = {
    "both": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "a coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "folding": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
    "a bare CR": b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
    "a NUL": b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 2\r\n\r\nok",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "no status line": b"hello\r\n\r\n",
    "ICY": b"ICY 200 OK\r\n\r\n",
    "101 that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * HEAD_LIMIT,
}


def intercepted() -> Rig:
    """After one good exchange, so that what comes is not the business of the peek."""
    one = Rig('default = "intercept"', destination=CLEAR)
    one.app_sends(FIRST)
    one.origin_sends(OK)
    assert (one.take(ORIGIN), one.take(APP)) == (FIRST, OK)
    return one


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_a_request_that_breaks_a_rule_is_refused_and_nothing_after_it_is_read(name: str) -> None:
    request, status = REQUESTS[name]
    one = intercepted()
    one.app_sends(request + FIRST)

    assert one.take(ORIGIN) == b""
    answer = one.take(APP)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"\r\n\r\n") == 1 and b"Connection: close" in answer
    assert one.ended == {APP, ORIGIN}
    record = one.records[-1]
    assert record.status == status and record.error is not None and record.error.startswith("refused: ")


@pytest.mark.parametrize("name", sorted(CHUNKS))
def test_chunks_that_break_a_rule_end_the_connection(name: str) -> None:
    one = intercepted()
    one.app_sends(post(b"Transfer-Encoding: chunked\r\n", CHUNKS[name]) + FIRST)

    sent = one.take(ORIGIN)
    assert not sent.endswith(b"0\r\n\r\n"), "the origin must not take it for a whole request"
    assert FIRST not in sent
    assert one.aborted or one.ended == {APP, ORIGIN}


@pytest.mark.parametrize("name", sorted(RESPONSES))
def test_a_response_that_breaks_a_rule_is_a_502(name: str) -> None:
    one = intercepted()
    one.app_sends(FIRST)
    one.origin_sends(RESPONSES[name])

    assert one.take(APP).startswith(b"HTTP/1.1 502 ")
    assert one.ended == {APP, ORIGIN}
    assert one.records[-1].error is not None


@pytest.mark.parametrize("name", sorted(CHUNKS))
def test_chunks_of_a_response_that_break_a_rule_never_look_whole(name: str) -> None:
    one = intercepted()
    one.app_sends(FIRST)
    one.origin_sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS[name])

    assert not one.take(APP).endswith(b"0\r\n\r\n")
    assert one.aborted or one.ended == {APP, ORIGIN}


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_an_error(data: bytes) -> None:
    for raw in (data, b"GET / HTTP/1.1\r\nHost: a\r\n" + data + b"\r\n\r\n"):
        try:
            head = take_head(bytearray(raw))
            if head is not None:
                found = parse_request(head)
                assert found.facts.length is None or not found.facts.chunked
        except HeadError as error:
            assert error.status in (400, 431, 501, 505)


# Inspected: forwarded as received, unless the two ends could read it differently.

CLEAR_CUT = {
    # Not a matter of where a request ends, or not seen by the observer's reader, which decides nothing else.
    "no Host", "two Hosts", "the same Host twice", "a Host with a space", "a Host with a path", "HTTP/1.2", "HTTP/2.0",
    "two spaces in the request line", "a tab in the request line", "a space in the target", "no version",
    "a control character in the target", "a target without a slash", "CONNECT without a port", "a small http",
    "a method that is no token", "too large a head", "too many fields", "nothing but empty lines",
    "a coding in HTTP/1.0",
}  # fmt: skip


def inspected() -> Rig:
    one = Rig('default = "inspect"', destination=CLEAR)
    one.app_sends(FIRST)
    one.origin_sends(OK)
    assert (one.take(ORIGIN), one.take(APP)) == (FIRST, OK)
    return one


@pytest.mark.parametrize("name", sorted(set(REQUESTS) - CLEAR_CUT))
def test_what_the_ends_could_read_differently_ends_an_inspected_connection(name: str) -> None:
    one = inspected()
    one.app_sends(REQUESTS[name][0])

    assert one.take(ORIGIN) == b""
    assert one.closed
    assert one.records[-1].error is not None and one.records[-1].error.startswith("refused: ")


@pytest.mark.parametrize("name", sorted(set(CHUNKS) - {"a Host in the trailers", "an extension that never ends"}))
def test_chunks_that_the_ends_could_read_differently_end_it_too(name: str) -> None:
    one = inspected()
    head = post(b"Transfer-Encoding: chunked\r\n")
    one.app_sends(head)
    one.app_sends(CHUNKS[name])

    assert one.take(ORIGIN) == head
    assert one.closed


@pytest.mark.parametrize(
    "request_bytes",
    [b"GET / HTTP/1.1\nHost: a\n\n", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00\x01 no HTTP at all"],
)
def test_what_is_only_odd_goes_on_as_it_came(request_bytes: bytes) -> None:
    one = inspected()
    one.app_sends(request_bytes)
    assert one.take(ORIGIN) == request_bytes


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "head", [b"POST / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", b"POST / HTTP/1.1\nHost: a\r\nX: y\r\n\r\n"]
)
def test_a_lone_lf_among_crlfs_ends_it_however_the_bytes_are_cut(head: bytes, size: int) -> None:
    one = inspected()
    for at in range(0, len(head), size):
        if not one.closed:
            one.app_sends(head[at : at + size])

    assert one.closed
    assert not bytes(one.take(ORIGIN)).endswith(b"\r\n\r\n"), "never the whole of it"


def test_an_app_that_ends_every_line_with_lf_is_left_alone_however_the_bytes_are_cut() -> None:
    one = inspected()
    request = b"POST / HTTP/1.1\nHost: a\nContent-Length: 4\n\n\r\n\r\n"
    for byte in request:
        one.app_sends(bytes([byte]))

    assert one.take(ORIGIN) == request
