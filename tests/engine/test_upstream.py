"""The way through a chain, without a socket: any cut of what proxies say, every refusal, and who it was."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.engine.upstream import RECEIVE_LIMIT, HopError, Tunnel
from pointsman.policy.load import parse_policy
from pointsman.policy.upstreams import Chain, Credentials
from pointsman.testing import authority
from pointsman.wire import http_connect, socks5

TARGET = ("www.example.com", 443)
CHAIN = '["socks5://u:p@192.0.2.1:1080", "http://b.example:3128", "socks5://[2001:db8::3]:1080"]'
YES4, YES_NAME = b"\x05\x00\x00\x01" + bytes(6), b"\x05\x00\x00\x03\x01x\x00\x01"
DIALOGUE = [
    (socks5.greeting(with_password=True), b"\x05\x02"),
    (socks5.authentication("u", "p"), b"\x01\x00"),
    (socks5.connect_request("b.example", 3128), YES_NAME),
    (http_connect.connect_request(ip_address("2001:db8::3"), 1080, None), b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"),
    (socks5.greeting(with_password=False), b"\x05\x00"),
    (socks5.connect_request(*TARGET), YES4),
]
"""What we say, and what is answered."""


def chain_of(urls: str) -> Chain:
    policy = parse_policy(f"[upstreams]\nu = {urls}".encode(), "t.toml")
    return policy.upstreams[0].alternatives[0]


def tunnel_of(urls: str) -> Tunnel:
    chain = chain_of(urls)
    credentials = {hop: hop.credentials for hop in chain if isinstance(hop.credentials, Credentials)}
    return Tunnel(chain, TARGET, lambda: authority.client_context(), credentials)


@settings(max_examples=300)
@given(st.lists(st.integers(0, 60), max_size=12), st.binary(max_size=10))
def test_a_chain_of_any_mix_is_gone_through_at_any_cut_of_the_bytes(cuts: list[int], first_words: bytes) -> None:
    tunnel = tunnel_of(CHAIN)
    sent = tunnel.start()
    for said, answered in DIALOGUE[:-1]:
        assert sent == said
        sent = b"".join(tunnel.receive(piece) for piece in pieces(answered, cuts))
    said, answered = DIALOGUE[-1]
    assert sent == said
    rest = pieces(answered + first_words, cuts)
    while not tunnel.done:
        assert tunnel.receive(rest.pop(0)) == b""

    assert tunnel.leftover + b"".join(rest) == first_words


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(bounds)]


@pytest.mark.parametrize(
    ("at", "answer", "error", "about_target"),
    [
        (0, b"\x05\xff", "socks5://192.0.2.1:1080: it accepts none of our ways to authenticate (SOCKS 0xFF)", False),
        (1, b"\x01\x01", "socks5://192.0.2.1:1080: it refused user and password (SOCKS 0x01)", False),
        (2, b"\x05\x05", "socks5://192.0.2.1:1080: connection refused (SOCKS 0x05)", False),
        (3, b"HTTP/1.1 403 No\r\n\r\n", "http://b.example:3128: forbidden (HTTP 403)", False),
        (4, b"\x05\x02", "socks5://[2001:db8::3]:1080: it wants user and password (SOCKS 0x02), which were not", False),
        (5, b"\x05\x04", "socks5://[2001:db8::3]:1080: host unreachable (SOCKS 0x04)", True),
        (5, b"\x05\x07", "socks5://[2001:db8::3]:1080: CONNECT not supported (SOCKS 0x07)", False),
    ],
)
def test_a_refusal_names_the_proxy_and_is_about_the_destination_only_from_the_last(
    at: int, answer: bytes, error: str, about_target: bool
) -> None:
    tunnel = tunnel_of(CHAIN)
    tunnel.start()
    for _, answered in DIALOGUE[:at]:
        tunnel.receive(answered)
    with pytest.raises(HopError) as caught:
        tunnel.receive(answer)

    assert str(caught.value).startswith(error)
    assert caught.value.about_target is about_target
    assert "u:p" not in str(caught.value)


def test_a_proxy_that_closes_is_named() -> None:
    tunnel = tunnel_of(CHAIN)
    tunnel.start()
    for _, answered in DIALOGUE[:3]:
        tunnel.receive(answered)

    assert str(tunnel.ended()) == "http://b.example:3128: it closed the connection"


def test_only_the_answer_for_the_destination_itself_is_waited_for_with_doubt() -> None:
    tunnel = tunnel_of(CHAIN)
    tunnel.start()
    for _, answered in DIALOGUE[:-1]:
        assert not tunnel.asks_last
        tunnel.receive(answered)

    assert tunnel.asks_last


def test_a_proxy_that_dribbles_a_head_for_ever_is_bounded() -> None:
    tunnel = tunnel_of('"http://192.0.2.1:1"')
    tunnel.start()
    tunnel.receive(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(HopError, match="longer than"):
        for _ in range(RECEIVE_LIMIT):
            tunnel.receive(b"a: b\r\n")


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_of_a_proxy_end_in_a_tunnel_or_in_words(chunks: list[bytes]) -> None:
    for urls in ('"socks5://u:p@192.0.2.1:1"', '"http://192.0.2.1:1"', '"https://192.0.2.1:1"'):
        tunnel = tunnel_of(urls)
        tunnel.start()
        try:
            for chunk in chunks:
                if not tunnel.done:
                    tunnel.receive(chunk)
        except HopError as error:
            assert str(error).isprintable()
