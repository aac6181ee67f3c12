from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pointsman.engine.peek import CERTAIN_TIMEOUT, PEEK_LIMIT, PEEK_TIMEOUT, Peek, Peeked
from pointsman.testing.authority import client_hello

HELLO = client_hello("example.com")
REQUEST = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"


def feed(chunks: list[bytes]) -> Peeked | None:
    peek = Peek()
    for chunk in chunks:
        peeked = peek.receive(chunk, 0.0)
        if peeked is not None:
            return peeked
    return None


def test_a_hello_and_a_request_tell_the_host() -> None:
    for stream in (HELLO, REQUEST):
        peeked = feed([stream])
        assert peeked is not None
        assert peeked.host == "example.com"
        assert peeked.held == stream


@given(st.data())
def test_the_answer_holds_every_byte_in_order_however_they_were_cut(data: st.DataObject) -> None:
    stream = data.draw(st.sampled_from([HELLO, REQUEST, b"SSH-2.0-x\r\n"]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]

    peeked, whole = feed(chunks), feed([stream])

    assert peeked is not None and whole is not None
    assert stream.startswith(peeked.held)
    assert (peeked.hello, peeked.head) == (whole.hello, whole.head)


def test_nothing_is_held_so_nothing_is_late() -> None:
    peek = Peek()

    assert peek.deadline is None
    assert peek.tick(1e9) is None


def test_unclear_bytes_are_let_through_at_the_deadline() -> None:
    peek = Peek()
    assert peek.receive(b"PO", 10.0) is None

    assert peek.deadline == 10.0 + PEEK_TIMEOUT
    assert peek.tick(peek.deadline - 0.01) is None
    assert peek.tick(peek.deadline) == Peeked(b"PO")


def test_who_dribbles_its_hello_is_not_let_through_early() -> None:
    for start in (HELLO[:1], HELLO[:100], b"POST "):
        peek = Peek()
        peek.receive(start, 10.0)
        assert peek.deadline == 10.0 + CERTAIN_TIMEOUT


def test_the_deadline_counts_from_the_first_byte() -> None:
    peek = Peek()
    peek.receive(HELLO[:1], 10.0)
    peek.receive(HELLO[1:2], 20.0)

    assert peek.deadline == 10.0 + CERTAIN_TIMEOUT
    assert peek.receive(HELLO[2:3], 26.0) == Peeked(HELLO[:3])


def test_no_more_is_held_than_the_limit() -> None:
    peek = Peek()
    request = b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (PEEK_LIMIT // 6)

    assert peek.receive(request[: PEEK_LIMIT - 1], 0.0) is None
    assert peek.receive(request[PEEK_LIMIT - 1 :], 0.0) == Peeked(request)
