from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.testing.authority import client_hello
from pointsman.wire.client_hello import LIMIT, ClientHello, Incomplete, host_name, parse_client_hello

HELLO = client_hello("example.com", ("h2", "http/1.1"))
BODY = HELLO[5:]


def records(message: bytes, size: int) -> bytes:
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(struct.pack(">BHH", 22, 0x0301, len(part)) + part for part in parts)


def feed(chunks: list[bytes]) -> ClientHello | Incomplete:
    """As the peek does: the first answer that is not "need data" stands."""
    held = b""
    for chunk in chunks:
        held += chunk
        answer = parse_client_hello(held)
        if answer is not Incomplete.NEED_DATA:
            return answer
    return Incomplete.NEED_DATA


def test_a_real_client_is_understood() -> None:
    hello = parse_client_hello(HELLO)

    assert isinstance(hello, ClientHello)
    assert hello.server_name == "example.com"
    assert hello.alpn == ("h2", "http/1.1")
    assert 0x0304 in hello.versions and 0x0303 in hello.versions


def test_a_client_that_names_nobody_has_no_server_name() -> None:
    hello = parse_client_hello(client_hello(None))

    assert hello == ClientHello(None, (), (0x0304, 0x0303))


@given(st.integers(1, 300))
def test_how_the_hello_is_cut_into_records_does_not_matter(size: int) -> None:
    assert parse_client_hello(records(BODY, size)) == parse_client_hello(HELLO)


@given(st.binary(max_size=64), st.data())
def test_how_tcp_cuts_the_bytes_does_not_matter(junk: bytes, data: st.DataObject) -> None:
    stream = data.draw(st.sampled_from([junk, HELLO + junk, HELLO[:-1], records(BODY, 50) + junk, b"\x16\x03" + junk]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]

    assert feed(chunks) == feed([stream])


@given(st.integers(0, len(HELLO) - 1))
def test_every_beginning_of_a_hello_needs_data(size: int) -> None:
    assert parse_client_hello(HELLO[:size]) is Incomplete.NEED_DATA


@given(st.binary(max_size=300))
def test_any_bytes_give_an_answer(data: bytes) -> None:
    parse_client_hello(data)
    parse_client_hello(struct.pack(">BHHBBH", 22, 0x0301, len(data) + 4, 1, 0, len(data)) + data)


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_any_damaged_hello_gives_an_answer(at: int, value: int) -> None:
    damaged = bytearray(HELLO)
    damaged[at] = value
    parse_client_hello(damaged)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x17\x03\x03\x00\x05", b"\x16\x02", b"\x16\x03\x01\x00\x00"])
def test_what_is_no_handshake_record_is_not_tls(data: bytes) -> None:
    assert parse_client_hello(data) is Incomplete.NOT_TLS


def test_a_hello_that_claims_to_be_huge_is_refused_before_it_is_here() -> None:
    claims = struct.pack(">BHH", 22, 0x0301, 4) + b"\x01" + LIMIT.to_bytes(3, "big")

    assert parse_client_hello(claims) is Incomplete.NOT_TLS


def test_one_byte_records_do_not_go_on_for_ever() -> None:
    endless = records(b"\x01\x00\xff\x00" + bytes(LIMIT // 6), 1)

    assert len(endless) > LIMIT
    assert parse_client_hello(endless) is Incomplete.NOT_TLS


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.COM.", "example.com"),
        ("xn--bcher-kva.de", "xn--bcher-kva.de"),
        ("_dns.example", "_dns.example"),
        ("192.0.2.1", None),
        ("::1", None),
        ("", None),
        (".", None),
        ("a..b", None),
        ("a" * 64 + ".de", None),
        ("a.b" * 100, None),
        ("böse.de", None),
        ("a\0b", None),
    ],
)
def test_only_what_dns_could_hold_is_a_host_name(text: str, name: str | None) -> None:
    assert host_name(text) == name
