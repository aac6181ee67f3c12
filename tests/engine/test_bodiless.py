"""Responses that have no body, or get or lose theirs because a listener changes the status or the method."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from tests.engine.http2_world import APP, ORIGIN, Listener, World, events

from pointsman.engine.messages import HttpFlow, Response
from pointsman.engine.rebuild_http1_carrier import DISCARD_LIMIT
from pointsman.testing.memory import Rig

Change = Callable[[HttpFlow], object]
HEADS = frozenset(("requestheaders", "responseheaders"))
WHOLE = frozenset(("requestheaders", "responseheaders", "response"))
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
CHUNKED_TYPE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def status(value: int) -> Change:
    def change(flow: HttpFlow) -> None:
        assert flow.response is not None
        flow.response.status_code, flow.response.reason = value, "Changed"

    return change


def method(value: str) -> Change:
    def change(flow: HttpFlow) -> None:
        flow.request.method = value

    return change


def content(value: int, body: bytes) -> Change:
    def change(flow: HttpFlow) -> None:
        status(value)(flow)
        assert flow.response is not None
        flow.response.content = body

    return change


def rig(hooks: frozenset[str], changes: Mapping[str, Change], *, once: bool = False) -> Rig:
    """`once`: only the first exchange is changed."""
    seen: set[str] = set()

    def listen(hook: str, subject: object) -> None:
        assert isinstance(subject, HttpFlow)
        if hook in changes and not (once and hook in seen):
            seen.add(hook)
            changes[hook](subject)

    return Rig('default = "intercept"', destination=("192.0.2.1", 80), hooks=hooks, listener=listen)


@pytest.mark.parametrize("hooks", [HEADS, WHOLE], ids=["streamed", "gathered"])
@pytest.mark.parametrize("answer", [OK, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("cut", [1, 7, 1000])
@pytest.mark.parametrize("new", [204, 304])
def test_http1_a_status_without_a_body_takes_the_body_away(
    hooks: frozenset[str], answer: bytes, cut: int, new: int
) -> None:
    one = rig(hooks, {"responseheaders": status(new)}, once=True)
    one.app_sends(GET)
    for at in range(0, len(answer), cut):
        one.origin_sends(answer[at : at + cut])
    got = one.take(APP)
    head, end, rest = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d Changed" % new) and end and rest == b""
    if new == 204:  # RFC 9110 8.6, RFC 9112 6.1: it has neither
        assert b"content-length" not in head.lower() and b"transfer-encoding" not in head.lower()
    if b"connection: close" not in head.lower():
        one.take(ORIGIN)
        one.app_sends(GET)
        assert one.take(ORIGIN) == GET
        one.origin_sends(OK)
        assert one.take(APP) == OK, "the connection goes on where it should"


def test_http1_an_endless_body_that_nobody_gets_does_not_hold_the_app() -> None:
    one = rig(HEADS, {"responseheaders": status(204)})
    one.app_sends(GET)
    one.origin_sends(CHUNKED_TYPE + b"3\r\nabc\r\n")
    assert one.take(APP) == b"HTTP/1.1 204 Changed\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    assert APP in one.ended and one.record.error is None


def test_http1_a_long_body_that_nobody_gets_is_not_waited_for() -> None:
    one = rig(HEADS, {"responseheaders": status(304)})
    one.app_sends(GET)
    one.origin_sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nbegin" % (DISCARD_LIMIT + 1000))
    head = one.take(APP)
    assert head.startswith(b"HTTP/1.1 304 Changed\r\n") and b"Connection: close\r\n" in head
    assert head.endswith(b"\r\n\r\n") and APP in one.ended


@pytest.mark.parametrize("answer", [OK, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("hooks", [HEADS, WHOLE], ids=["streamed", "gathered"])
def test_http1_head_asked_as_get_gets_no_body(hooks: frozenset[str], answer: bytes) -> None:
    one = rig(hooks, {"requestheaders": method("GET")})
    one.app_sends(HEAD)
    assert one.take(ORIGIN).startswith(b"GET /x ")
    one.origin_sends(answer)
    got = one.take(APP)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n") and got.endswith(b"\r\n\r\n") and got.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize("hooks", [HEADS, WHOLE], ids=["streamed", "gathered"])
def test_http1_get_asked_as_head_gets_an_empty_body(hooks: frozenset[str]) -> None:
    one = rig(hooks, {"requestheaders": method("HEAD")})
    one.app_sends(GET)
    one.origin_sends(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
    assert one.take(APP) == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"],
)  # fmt: skip
@pytest.mark.parametrize("hook", ["responseheaders", "response"])
def test_http1_a_body_given_to_what_had_none_arrives_whole(answer: bytes, hook: str) -> None:
    change = content(200, b"new") if hook == "response" else status(200)
    one = rig(WHOLE, {hook: change})
    one.app_sends(GET)
    one.origin_sends(answer)
    got = one.take(APP).lower()
    body = b"new" if hook == "response" else b""
    assert b"content-length: %d\r\n" % len(body) in got and got.endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize("hook", ["responseheaders", "response"])
@pytest.mark.parametrize("new", [100, 101, 103])
def test_http1_a_status_that_is_no_final_one_is_refused_and_the_app_told(hook: str, new: int) -> None:
    one = rig(WHOLE, {hook: status(new)})
    one.app_sends(GET)
    one.origin_sends(OK)
    got = one.take(APP)
    assert got.startswith(b"HTTP/1.1 502 ") and b"%d" % new in got
    assert one.record.error is not None and "is no final status" in one.record.error


def test_http1_an_answer_of_an_addon_that_is_no_final_one_is_its_fault_not_the_apps() -> None:
    def answer(flow: HttpFlow) -> None:
        flow.response = Response.make(101)

    one = rig(HEADS, {"requestheaders": answer})
    one.app_sends(GET)
    assert one.take(APP).startswith(b"HTTP/1.1 502 ") and one.take(ORIGIN) == b""


def world(hooks: frozenset[str], **changes: Change) -> World:
    return World(hooks=hooks, listener=Listener(**changes))


@pytest.mark.parametrize("hooks", [HEADS, WHOLE], ids=["streamed", "gathered"])
@pytest.mark.parametrize("new", [204, 304])
@pytest.mark.parametrize("end", [True, False], ids=["ended", "endless"])
def test_http2_a_status_without_a_body_takes_the_body_away(hooks: frozenset[str], new: int, end: bool) -> None:
    one = world(hooks, responseheaders=status(new))
    one.request()
    one.origin.send_headers(1, [(":status", "200"), ("content-length", "4")])
    one.origin.send_data(1, b"bo")
    one.pump()
    if end:
        if hooks == WHOLE:  # a streamed one has been reset by now: nobody wants the rest
            one.origin.send_data(1, b"dy", end_stream=True)
    elif hooks == WHOLE:
        return  # a body that is gathered is waited for
    one.pump()
    (response,) = one.of(APP, events.ResponseReceived)
    assert (":status", str(new)) in response.headers
    assert one.body(APP, 1) == b"" and len(one.of(APP, events.StreamEnded)) == 1
    if new == 204:
        assert "content-length" not in dict(response.headers)
    if hooks == HEADS:
        assert [event.stream_id for event in one.of(ORIGIN, events.StreamReset)] == [1]
    one.request(3)
    one.respond(3)
    assert one.rebuild.failure is None and one.exchanges()[0].error is None


def test_http2_head_asked_as_get_and_get_asked_as_head() -> None:
    one = world(HEADS, requestheaders=lambda flow: method("GET" if flow.request.method == "HEAD" else "HEAD")(flow))
    one.request(method="HEAD")
    one.respond(body=b"body", end=False)
    assert one.body(APP, 1) == b"" and len(one.of(APP, events.StreamEnded)) == 1
    one.request(3)
    one.origin.send_headers(3, [(":status", "200"), ("content-length", "999")], end_stream=True)
    one.pump()
    assert dict(one.of(APP, events.ResponseReceived)[1].headers)["content-length"] == "0"
    assert len(one.of(APP, events.StreamEnded)) == 2


def test_http2_a_body_given_to_what_had_none_arrives_whole() -> None:
    one = world(WHOLE, response=content(200, b"new"))
    one.request()
    one.origin.send_headers(1, [(":status", "304"), ("content-length", "99")], end_stream=True)
    one.pump()
    assert dict(one.of(APP, events.ResponseReceived)[0].headers)["content-length"] == "3"
    assert one.body(APP, 1) == b"new"


@pytest.mark.parametrize("hook", ["responseheaders", "response"])
def test_http2_a_status_that_is_no_final_one_is_refused_and_the_app_told(hook: str) -> None:
    one = world(WHOLE, **{hook: status(103)})
    one.request()
    one.respond()
    assert (":status", "502") in one.of(APP, events.ResponseReceived)[0].headers
    assert "is no final status" in (one.exchanges()[0].error or "")


def test_http2_an_answer_of_an_addon_that_is_no_final_one_is_told_too() -> None:
    def answer(flow: HttpFlow) -> None:
        flow.response = Response.make(100)

    one = world(HEADS, requestheaders=answer)
    one.request()
    assert (":status", "502") in one.of(APP, events.ResponseReceived)[0].headers
    assert one.raw[ORIGIN] and not one.of(ORIGIN, events.RequestReceived)


def take_away(flow: HttpFlow) -> None:
    flow.response = None


@pytest.mark.parametrize("hook", ["responseheaders", "response"])
def test_a_response_that_a_listener_takes_away_is_a_502_and_no_bug(hook: str) -> None:
    one = rig(WHOLE, {hook: take_away})
    one.app_sends(GET)
    one.origin_sends(OK)
    assert one.take(APP).startswith(b"HTTP/1.1 502 ")
    assert one.record.error == "refused: an addon took the response away"
    other = world(WHOLE, **{hook: take_away})
    other.request()
    other.respond()
    assert (":status", "502") in other.of(APP, events.ResponseReceived)[0].headers


UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"


def test_the_answer_that_ends_http_is_shown_like_any_other_and_what_follows_waits() -> None:
    one = Rig('default = "intercept"', destination=("192.0.2.1", 80), hooks=frozenset(("responseheaders", "response")))
    one.app_sends(UPGRADE)
    one.origin_sends(SWITCH + b"first words")
    one.app_sends(b"early words")
    assert one.take(APP) == b"" and one.take(ORIGIN) == UPGRADE
    heard = []
    while one.consults:
        flow = one.consults[0].subject
        assert isinstance(flow, HttpFlow) and flow.response is not None and flow.response.content == b""
        heard.append((one.consults[0].hook, flow.response.status_code))
        flow.response.headers["X-Seen"] = "1"
        one.answer()
    assert heard == [("responseheaders", 101), ("response", 101)]
    assert one.take(APP) == SWITCH[:-2] + b"X-Seen: 1\r\n\r\nfirst words"
    assert one.take(ORIGIN) == b"early words"


def test_a_listener_refuses_the_answer_that_ends_http() -> None:
    one = rig(WHOLE, {"response": content(403, b"no")})
    one.app_sends(UPGRADE)
    one.origin_sends(SWITCH + b"first words")
    got = one.take(APP)
    assert got.startswith(b"HTTP/1.1 403 Changed\r\n") and got.endswith(b"\r\n\r\nno") and APP in one.ended
    assert one.record.status == 403 and one.record.error is None
