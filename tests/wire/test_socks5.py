"""SOCKS 5 messages against the bytes of RFC 1928 and RFC 1929, over any cut and any bytes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.wire import socks5
from pointsman.wire.proxy_error import ProxyError


def test_messages_are_as_the_rfcs_have_them() -> None:
    assert socks5.greeting(with_password=False) == b"\x05\x01\x00"
    assert socks5.greeting(with_password=True) == b"\x05\x02\x00\x02"
    assert socks5.authentication("user", "pw") == b"\x01\x04user\x02pw"
    assert socks5.connect_request("a.example", 443) == b"\x05\x01\x00\x03\x09a.example\x01\xbb"
    assert socks5.connect_request(ip_address("192.0.2.1"), 80) == b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"
    v6 = ip_address("2001:db8::1")
    assert socks5.connect_request(v6, 1) == b"\x05\x01\x00\x04" + v6.packed + b"\x00\x01"


@pytest.mark.parametrize("name", ["", "a" * 256, "ü.example"])
def test_a_name_that_socks_cannot_carry_is_an_error_and_not_another_name(name: str) -> None:
    with pytest.raises(ValueError):
        socks5.connect_request(name, 1)


@pytest.mark.parametrize(
    "reply",
    [b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00", b"\x05\x00\x00\x03\x03abc\x00\x01", b"\x05\x00\x00\x04" + bytes(18)],
)
@given(rest=st.binary(max_size=20))
def test_a_reply_takes_its_own_bytes_and_leaves_those_of_the_destination(reply: bytes, rest: bytes) -> None:
    for cut in range(len(reply)):
        assert socks5.parse_reply(reply[:cut]) is None
    assert socks5.parse_reply(reply + rest) == len(reply)


@pytest.mark.parametrize(
    ("code", "words", "about_target"),
    [
        (1, "general failure (SOCKS 0x01)", True),
        (2, "not allowed by its rules (SOCKS 0x02)", True),
        (3, "network unreachable (SOCKS 0x03)", True),
        (4, "host unreachable (SOCKS 0x04)", True),
        (5, "connection refused (SOCKS 0x05)", True),
        (6, "TTL expired (SOCKS 0x06)", True),
        (7, "CONNECT not supported (SOCKS 0x07)", False),
        (8, "address type not supported (SOCKS 0x08)", True),
        (9, "unknown reply (SOCKS 0x09)", True),
    ],
)
def test_every_reply_has_words_and_says_whose_fault_it_is(code: int, words: str, about_target: bool) -> None:
    with pytest.raises(ProxyError) as caught:
        socks5.parse_reply(bytes([5, code]))
    assert (str(caught.value), caught.value.about_target) == (words, about_target)


@pytest.mark.parametrize(
    ("parse", "data", "words"),
    [
        (socks5.parse_method, b"\x05\xff", "it accepts none of our ways to authenticate (SOCKS 0xFF)"),
        (socks5.parse_method, b"\x05\x01", "it chose the SOCKS method 0x01, which was not offered"),
        (socks5.parse_method, b"HTTP/1.1 400", "not a SOCKS 5 proxy: it begins with 0x48 (HTTP?)"),
        (socks5.parse_method, b"\x04", "not a SOCKS 5 proxy: it begins with 0x04"),
        (socks5.parse_authentication, b"\x01\x01", "it refused user and password (SOCKS 0x01)"),
        (socks5.parse_authentication, b"\x05", "not an answer to user and password: it begins with 0x05"),
        (socks5.parse_reply, b"\x05\x00\x00\x02\x00", "its reply has the address type 0x02, which SOCKS 5 does"),
    ],
)
def test_what_is_no_answer_is_called_so(parse: Callable[[bytes], object], data: bytes, words: str) -> None:
    with pytest.raises(ProxyError) as caught:
        parse(data)
    assert str(caught.value).startswith(words)


@given(st.binary(max_size=600))
def test_any_bytes_give_a_value_or_the_error_of_the_peer(data: bytes) -> None:
    for parse in (socks5.parse_method, socks5.parse_authentication, socks5.parse_reply):
        try:
            parse(data)
        except ProxyError as error:
            assert str(error).isprintable()
