"""Messages as addon authors handle them: headers, bodies, URLs, cookies, forms."""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.engine import content
from pointsman.engine.authority import joined_authority, split_authority, split_url
from pointsman.engine.content import decode, encode
from pointsman.engine.fields import Headers
from pointsman.engine.flow_record import Flow
from pointsman.engine.forms import read_multipart, write_multipart
from pointsman.engine.messages import ConnectionNotice, HttpFlow, Request, Response, TcpMessage, WebSocketMessage

CODINGS = ["gzip", "deflate", "br", "zstd"]
FLOW = Flow(7, 1000.0, "/usr/bin/curl", 4242, (IPv4Address("203.0.113.10"), 443))


def needs(coding: str) -> None:
    try:
        encode(b"", coding)
    except ValueError as error:
        pytest.skip(f"the extra `inspect` is not installed: {error}")


# Headers.


def test_headers_are_a_mapping_that_does_not_mind_case() -> None:
    headers = Headers([(b"Host", b"a"), (b"Set-Cookie", b"1"), (b"set-cookie", b"2")])
    assert headers["HOST"] == "a" and headers.get("none") is None and "set-COOKIE" in headers
    assert headers["set-cookie"] == "1, 2" and headers.get_all("Set-Cookie") == ["1", "2"]
    assert list(headers) == ["Host", "Set-Cookie"] and len(headers) == 2
    assert list(headers.items()) == [("Host", "a"), ("Set-Cookie", "1, 2")]
    assert list(headers.items(multi=True)) == [("Host", "a"), ("Set-Cookie", "1"), ("set-cookie", "2")]
    assert bytes(headers) == b"Host: a\r\nSet-Cookie: 1\r\nset-cookie: 2\r\n"


def test_setting_a_header_keeps_its_place_and_leaves_one() -> None:
    headers = Headers([(b"A", b"1"), (b"B", b"2"), (b"a", b"3"), (b"C", b"4")])
    headers["a"] = "x"
    assert headers.fields == [(b"a", b"x"), (b"B", b"2"), (b"C", b"4")]
    headers["New"] = "y"
    headers.add("new", "z")
    headers.insert(0, "First", "0")
    assert headers.get_all("new") == ["y", "z"] and headers.fields[0] == (b"First", b"0")
    assert headers.pop("b") == "2" and "b" not in headers
    with pytest.raises(KeyError):
        del headers["b"]
    assert headers.setdefault("c", "no") == "4"
    assert Headers(content_type="text/html").fields == [(b"content-type", b"text/html")]
    assert Headers([(b"A", b"1")]) == Headers([(b"a", b"1")]) != Headers([(b"a", b"2")])


@given(
    st.lists(st.tuples(st.sampled_from([b"A", b"a", b"B", b"c"]), st.binary(max_size=3))),
    st.sampled_from("AbcD"),
    st.text(max_size=3),
)
def test_what_is_set_is_what_is_found_and_nothing_else_changes(
    fields: list[tuple[bytes, bytes]], name: str, value: str
) -> None:
    headers = Headers(fields)
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    headers[name] = value
    assert headers.get_all(name) == [value]
    others = [one for one in fields if one[0].lower() != name.lower().encode()]
    assert [one for one in headers.fields if one[0].lower() != name.lower().encode()] == others


# Bodies.


@pytest.mark.parametrize("coding", CODINGS)
@given(data=st.binary(max_size=2000))
def test_what_is_encoded_decodes_to_itself(coding: str, data: bytes) -> None:
    needs(coding)
    assert decode(encode(data, coding), coding) == data


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_stops_at_the_bound(coding: str) -> None:
    needs(coding)
    bomb = encode(bytes(10_000_000), coding)
    assert len(bomb) < 20_000
    with pytest.raises(ValueError, match="more than 1000000 bytes"):
        decode(bomb, coding, limit=1_000_000)
    assert len(decode(bomb, coding, limit=10_000_000)) == 10_000_000


def test_a_bomb_in_a_bomb_stops_too() -> None:
    bomb = gzip.compress(gzip.compress(bytes(50_000_000)))
    with pytest.raises(ValueError, match="more than 1000000 bytes"):
        decode(bomb, "gzip, gzip", limit=1_000_000)
    with pytest.raises(ValueError, match="more than 4 content codings"):
        decode(b"", ",".join(["gzip"] * 5))


@pytest.mark.parametrize("coding", CODINGS)
@given(data=st.binary(max_size=300))
def test_any_bytes_decode_or_are_an_error_of_the_peer(coding: str, data: bytes) -> None:
    needs(coding)
    with suppress(ValueError):
        decode(data, coding)


@pytest.mark.parametrize("coding", CODINGS)
def test_half_a_body_is_an_error(coding: str) -> None:
    needs(coding)
    whole = encode(b"hello " * 1000, coding)
    with pytest.raises(ValueError):
        decode(whole[:-4], coding)


def test_codings_as_they_are_met() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert decode(raw.compress(b"bare") + raw.flush(), "deflate") == b"bare"
    assert decode(gzip.compress(b"a") + gzip.compress(b"b"), "gzip") == b"ab"
    assert decode(b"x", "identity") == b"x"
    with pytest.raises(ValueError, match="unknown content coding 'rot13'"):
        decode(b"x", "rot13")


def test_a_coding_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(content, "import_module", missing)
    response = Response.make(200, b"whatever")
    response.headers["content-encoding"] = "br"
    with pytest.raises(ValueError, match=r"pip install 'pointsman\[inspect\]'"):
        _ = response.content
    assert response.get_content(strict=False) == b"whatever"
    response.content = b"plain"
    assert response.raw_content == b"plain" and "content-encoding" not in response.headers


def test_content_is_decoded_for_who_looks_and_encoded_again() -> None:
    response = Response.make(200, b"hello", {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=latin-1"})
    assert response.raw_content is not None and gzip.decompress(response.raw_content) == b"hello"
    assert response.content == b"hello" and response.text == "hello"
    response.text = "grüße"
    assert gzip.decompress(response.raw_content) == "grüße".encode("latin-1")
    assert response.headers["content-length"] == str(len(response.raw_content))
    response.text = "€"
    assert response.headers["content-type"] == "text/plain; charset=utf-8" and response.text == "€"
    response.decode()
    assert "content-encoding" not in response.headers and response.raw_content == "€".encode()
    response.encode("deflate")
    assert response.content == "€".encode() and response.headers["content-encoding"] == "deflate"
    with pytest.raises(ValueError):
        response.encode("rot13")


@pytest.mark.parametrize(
    ("type_", "body", "text"),
    [
        ("text/html", b'<meta charset="iso-8859-1"><p>\xfc', '<meta charset="iso-8859-1"><p>ü'),
        ("application/json", "ü".encode(), "ü"),
        ("", b"\xfc", "ü"),
        ("text/plain; charset=no-such-set", "ü".encode(), "ü"),
        ("text/plain; charset=hex", b"ab", "ab"),
        ("text/plain; charset=utf-16-le", "ü".encode("utf-16-le"), "ü"),
    ],
)
def test_the_character_set_is_what_the_message_says_or_a_guess(type_: str, body: bytes, text: str) -> None:
    assert Response.make(200, body, {"Content-Type": type_}).text == text


def test_a_body_that_is_not_here_is_none() -> None:
    response = Response.make(200)
    response.raw_content = None
    assert response.content is None and response.text is None
    with pytest.raises(TypeError):
        response.json()
    with pytest.raises(TypeError, match=r"use \.text"):
        response.content = "text"  # type: ignore[assignment]  # what people do


def test_json() -> None:
    assert Response.make(200, json.dumps({"a": [1]})).json() == {"a": [1]}
    with pytest.raises(ValueError):
        Response.make(200, b"<html>").json()


# Requests.


def test_the_parts_of_a_request_can_be_read_and_changed() -> None:
    request = Request.make("GET", "https://example.com:8443/a/b?x=1&x=2&y=")
    assert (request.scheme, request.host, request.port, request.path) == (
        "https",
        "example.com",
        8443,
        "/a/b?x=1&x=2&y=",
    )
    assert request.url == request.pretty_url == "https://example.com:8443/a/b?x=1&x=2&y="
    assert request.query.get_all("x") == ["1", "2"] and request.query["y"] == ""
    request.query["x"] = "ü &"
    assert request.path == "/a/b?x=%C3%BC+%26&y="
    request.query = [("q", "1")]
    assert request.path == "/a/b?q=1"
    del request.query["q"]
    assert request.path == "/a/b" and request.path_components == ("a", "b")
    request.path_components = ["c"]
    assert request.path == "/c" and request.server is None


def test_a_request_is_sent_elsewhere_when_its_host_is_set() -> None:
    request = Request.make("GET", "http://example.org/")
    request.host = "mirror.example"
    assert request.server == ("mirror.example", 80) and request.headers["host"] == "mirror.example"
    assert request.authority == request.pretty_host == "mirror.example" and request.url == "http://mirror.example/"
    request.url = "https://[2001:db8::1]:444/x"
    assert request.server == ("2001:db8::1", 444) and request.headers["host"] == "[2001:db8::1]:444"
    request.headers["host"] = "kept.example"
    assert request.server == ("2001:db8::1", 444) and request.pretty_host == "kept.example"


def test_setting_what_is_there_already_sends_it_nowhere() -> None:
    request = Request.make("GET", "https://example.com/a")
    request.host, request.port, request.url = "example.com", 443, "https://example.com/b"
    assert request.server is None and request.path == "/b"
    for bad in ("/relative", "ftp://x/", "https://"):
        with pytest.raises(ValueError):
            request.url = bad


@pytest.mark.parametrize("authority", ["a", "a:81", "[::1]", "[::1]:81", "1.2.3.4:443"])
def test_an_authority_is_its_host_and_port(authority: str) -> None:
    host, port = split_authority(authority)
    assert joined_authority("http", host, port or 80) == authority


@given(st.text(max_size=30))
def test_any_text_as_an_authority_gives_a_valid_port_or_none(text: str) -> None:
    _, port = split_authority(text)
    assert port is None or 0 <= port <= 65535


@given(st.text(max_size=30))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        split_url(text)


def test_cookies_forms_and_files() -> None:
    request = Request.make("POST", "http://a/", headers={"Cookie": "a=1; b=2"})
    assert request.cookies["b"] == "2"
    request.cookies["b"] = "3"
    assert request.headers["cookie"] == "a=1; b=3"
    request.cookies = {}
    assert "cookie" not in request.headers

    assert not request.urlencoded_form
    request.urlencoded_form = [("user", "ü"), ("user", "b")]
    assert request.raw_content == b"user=%C3%BC&user=b"
    request.urlencoded_form["user"] = "c"
    assert request.text == "user=c" and request.headers["content-type"] == "application/x-www-form-urlencoded"

    request.multipart_form = [(b"file", b"\r\n--data--"), (b'n"', b"")]
    assert list(request.multipart_form.items(multi=True)) == [(b"file", b"\r\n--data--"), (b"n%22", b"")]


@given(st.lists(st.tuples(st.from_regex(rb"\A[a-z]{1,5}\Z"), st.binary(max_size=40))))
def test_a_multipart_form_is_read_as_it_was_written(pairs: list[tuple[bytes, bytes]]) -> None:
    boundary = b"=_pointsman_boundary_="
    assert read_multipart(write_multipart(pairs, boundary), boundary) == pairs


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=4))
def test_any_bytes_are_some_multipart_form(body: bytes, boundary: bytes) -> None:
    read_multipart(body, boundary)


# Responses, flows.


def test_a_response_is_made() -> None:
    response = Response.make(418, "I am ü", {"X": "y"})
    assert (response.status_code, response.reason, response.raw_content) == (418, "I'm a Teapot", "I am ü".encode())
    assert response.headers["content-length"] == "7" and Response.make(299).reason == ""
    assert Response.make(200, b"", [(b"A", b"1"), (b"A", b"2")]).headers.get_all("a") == ["1", "2"]
    with pytest.raises(TypeError):
        Response.make(200, b"", 5)


def test_cookies_of_a_response_have_attributes() -> None:
    response = Response.make(200, b"", [("Set-Cookie", "a=1; Path=/; HttpOnly"), ("Set-Cookie", "b=2")])
    value, attributes = response.cookies["a"]
    assert value == "1" and attributes["Path"] == "/" and attributes["HttpOnly"] is None
    response.cookies["a"] = ("9", attributes)
    assert response.headers.get_all("set-cookie") == ["a=9; Path=/; HttpOnly", "b=2"]


def test_a_flow_says_who_and_where_and_can_be_copied() -> None:
    flow = HttpFlow(3, FLOW, "intercept", "rule", Request.make("GET", "https://a.example/"), Response.make(200, b"x"))
    assert (flow.id, flow.app, flow.pid) == ("7-3", "/usr/bin/curl", 4242)
    assert flow.client_conn.sni == "a.example" and flow.client_conn.tls_established and flow.client_conn.pid == 4242
    assert flow.server_conn.address == ("203.0.113.10", 443)
    flow.metadata["mine"] = 1
    flow.comment, flow.marked = "seen", ":red:"
    other = flow.copy()
    other.request.path = "/other"
    other.response = None
    assert flow.request.path == "/" and flow.response is not None and other.metadata == {"mine": 1}
    assert flow != other and len({flow, other}) == 2
    assert repr(flow) == (
        "HttpFlow(7-3, /usr/bin/curl, Request(GET https://a.example/), Response(200, no type, 1 bytes))"
    )
    flow.kill()
    assert flow.killed and not flow.killable


def test_websocket_messages_have_text_and_can_be_dropped() -> None:
    flow = HttpFlow(1, FLOW, "intercept", "rule", Request.make("GET", "https://a.example/"))
    assert not flow.websocket
    flow.messages = [WebSocketMessage(True, True, "ü".encode(), 0.0)]
    assert flow.websocket
    message = flow.messages[-1]
    message.text += "!"
    message.drop()
    assert message.content == "ü!".encode() and message.dropped
    assert not hasattr(WebSocketMessage(True, False, b"\xff", 0.0), "text")


def test_tcp_and_connections_under_the_names_that_addons_use() -> None:
    piece = TcpMessage(FLOW, "intercept", "rule", True, b"hello")
    piece.messages[-1].content = b"bye"
    assert piece.content == b"bye" and piece.id == "7-tcp" and piece.server_conn.address == ("203.0.113.10", 443)
    notice = ConnectionNotice(FLOW, "intercept", "rule", "a.example", ("h2",))
    assert notice.client_hello.sni == "a.example" and notice.client_hello.alpn_protocols == [b"h2"]
    notice.ignore_connection = True
    assert notice.ignore and notice.context.server.address == ("203.0.113.10", 443)
