"""HTTP/1 rebuilt: what arrives at each end, who is asked when, and what ends a connection."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.engine.flow_record import METHOD_LIMIT, PATH_LIMIT
from pointsman.engine.messages import Headers, HttpFlow, Response, Subject
from pointsman.engine.rebuild import HELD_LIMIT, LINGER
from pointsman.engine.transaction_parts import GATHER_LIMIT
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd, pump
from pointsman.wire.http1_bodies import ChunkedBody
from pointsman.wire.http1_heads import parse_request, parse_response, take_head

CLEAR = ("192.0.2.1", 80)
GET = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POST = b"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
ALL = frozenset(("requestheaders", "request", "responseheaders", "response", "error"))


class Listener:
    """Remembers what it was asked about, and changes what a test wants."""

    def __init__(self, **changes: object) -> None:
        self.heard: list[str] = []
        self._changes = changes

    def __call__(self, hook: str, subject: Subject) -> None:
        self.heard.append(hook)
        change = self._changes.get(hook)
        if callable(change):
            change(subject)


def rig(listener: Listener | None = None, hooks: frozenset[str] = ALL, policy: str = 'default = "intercept"') -> Rig:
    return Rig(policy, destination=CLEAR, hooks=hooks if listener else frozenset(), listener=listener)


def test_a_message_goes_on_as_it_came_if_nobody_changes_it() -> None:
    one = rig()
    one.app_sends(POST)
    one.origin_sends(OK)

    assert (one.take(ORIGIN), one.take(APP)) == (POST, OK)
    record = one.record
    assert (record.method, record.path, record.status, record.host) == ("POST", "/p", 200, "a.example")
    assert (record.decision, record.protocol, record.bytes_up, record.bytes_down) == (
        "intercept", "http/1.1", len(POST), len(OK),
    )  # fmt: skip


@pytest.mark.parametrize("end", [b"", b"Content-Length: 2\r\n"])
def test_what_a_record_has_of_a_request_is_bounded(end: bytes) -> None:
    """A thousand of them are remembered."""
    method, path = b"A" * 20_000, b"/" + b"p" * 20_000
    one = rig()
    one.app_sends(GET)
    one.origin_sends(OK)
    one.app_sends(b"%b %b HTTP/1.1\r\nHost: a.example\r\n%b\r\n%b" % (method, path, end, b"ab" if end else b""))
    one.origin_sends(OK)

    assert one.take(APP) == 2 * OK
    record = one.records[-1]
    assert record.method == "A" * METHOD_LIMIT
    assert record.path is not None and len(record.path) == PATH_LIMIT


def test_a_body_streams_without_being_gathered() -> None:
    one = rig()
    one.app_sends(POST[:-3])
    assert one.take(ORIGIN) == POST[:-3]
    one.app_sends(POST[-3:])
    one.origin_sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    one.origin_sends(b"9\r\ndata: 1\n\n\r\n")

    assert one.take(APP).endswith(b"9\r\ndata: 1\n\n\r\n")


def test_pipelined_requests_go_to_the_origin_one_after_the_other_and_keep_their_order() -> None:
    one = rig()
    one.app_sends(GET + POST + GET)
    for request in (GET, POST, GET):
        assert one.take(ORIGIN) == request
        one.origin_sends(OK)
    assert one.take(APP) == OK * 3
    assert len(one.records) == 3


def test_an_app_that_pipelines_without_end_is_paused() -> None:
    one = rig()
    one.app_sends(GET * (HELD_LIMIT // len(GET) + 2))
    assert one.paused == {APP}
    while one.take(ORIGIN):
        one.origin_sends(OK)
    assert one.paused == set()


def test_chunks_and_trailers_arrive() -> None:
    one = rig()
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n0\r\nT: v\r\n\r\n"
    one.app_sends(chunked)
    assert one.take(ORIGIN) == chunked.replace(b";x=1", b"")


@pytest.mark.parametrize(
    ("request_bytes", "response"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("hooks", [frozenset(), ALL])
def test_a_response_without_a_body_ends_with_its_head(
    request_bytes: bytes, response: bytes, hooks: frozenset[str]
) -> None:
    one = rig(Listener(), hooks)
    one.app_sends(request_bytes)
    one.origin_sends(response)
    one.app_sends(GET)
    one.origin_sends(OK)

    assert one.take(APP) == response + OK


def test_interim_responses_go_on_at_once() -> None:
    one = rig()
    one.app_sends(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert b"Expect" in one.take(ORIGIN)
    one.origin_sends(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert one.take(APP) == b"HTTP/1.1 100 Continue\r\n\r\n"
    one.app_sends(b"hi")
    one.origin_sends(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    assert one.take(APP) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK


def test_whoever_wants_the_body_before_the_origin_invites_it() -> None:
    one = rig(Listener())
    one.app_sends(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert (one.take(APP), one.take(ORIGIN)) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    one.app_sends(b"hi")
    assert one.take(ORIGIN) == b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"


def test_the_hooks_come_in_their_order_with_what_is_known_by_then() -> None:
    seen: list[tuple[bytes | None, bytes | None]] = []

    def look(flow: HttpFlow) -> None:
        seen.append((flow.request.raw_content, flow.response.raw_content if flow.response else None))

    listener = Listener(requestheaders=look, request=look, responseheaders=look, response=look)
    one = rig(listener)
    one.app_sends(POST)
    one.origin_sends(OK)

    assert listener.heard == ["requestheaders", "request", "responseheaders", "response"]
    assert seen == [(None, None), (b"hello", None), (b"hello", None), (b"hello", b"ok")]


def test_what_a_listener_changes_is_what_arrives_with_the_framing_that_is_true() -> None:
    def change_request(flow: HttpFlow) -> None:
        flow.request.method, flow.request.path, flow.request.raw_content = "PUT", "/other?q", b"longer than before"
        flow.request.headers["X-New"] = "1"
        flow.request.headers["Content-Length"] = "3"

    def change_response(flow: HttpFlow) -> None:
        assert flow.response is not None
        flow.response.status_code, flow.response.reason, flow.response.raw_content = 418, "Teapot", b""

    one = rig(Listener(request=change_request, response=change_response))
    one.app_sends(POST)
    head, _, body = one.take(ORIGIN).partition(b"\r\n\r\n")
    assert head.splitlines() == [
        b"PUT /other?q HTTP/1.1", b"Host: a.example", b"Content-Length: 18", b"X-New: 1",
    ]  # fmt: skip
    assert body == b"longer than before"
    one.origin_sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert one.take(APP) == b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n"


def test_a_listener_that_answers_itself_keeps_the_origin_out_of_it() -> None:
    def answer(flow: HttpFlow) -> None:
        flow.response = Response(200, "OK", "HTTP/1.1", Headers([(b"X-From", b"here")]), b"mine")

    listener = Listener(request=answer)
    one = rig(listener)
    one.app_sends(POST + GET)

    assert one.take(ORIGIN) == b""
    assert one.take(APP) == b"HTTP/1.1 200 OK\r\nX-From: here\r\nContent-Length: 4\r\n\r\nmine" * 2
    assert listener.heard == ["requestheaders", "request", "responseheaders", "response"] * 2


def test_a_killed_exchange_is_a_reset_and_an_error() -> None:
    def kill(flow: HttpFlow) -> None:
        flow.killed = True

    listener = Listener(responseheaders=kill)
    one = rig(listener)
    one.app_sends(GET)
    one.origin_sends(OK)

    assert one.aborted
    assert one.take(APP) == b""
    assert listener.heard[-1] == "error"
    assert one.record.error == "killed by an addon"


def test_while_somebody_is_asked_nothing_goes_on_and_little_is_held() -> None:
    one = Rig('default = "intercept"', destination=CLEAR, hooks=frozenset(("requestheaders",)))
    one.app_sends(POST + GET)
    assert one.take(ORIGIN) == b""
    one.app_sends(bytes(HELD_LIMIT))
    assert one.paused == {APP}
    one.answer()
    assert one.take(ORIGIN) == POST


def test_a_streamed_body_can_be_changed_on_its_way() -> None:
    def stream(flow: HttpFlow) -> None:
        assert flow.response is not None
        flow.response.stream = lambda data: data.upper() if data else b"!"

    one = rig(Listener(responseheaders=stream))
    one.app_sends(GET)
    one.origin_sends(OK[:-1])
    assert one.take(APP) == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nO\r\n"
    one.origin_sends(OK[-1:])
    assert one.take(APP) == b"1\r\nK\r\n1\r\n!\r\n0\r\n\r\n"


def test_a_body_beyond_the_bound_is_passed_on_and_the_record_says_so() -> None:
    listener = Listener()
    one = rig(listener)
    one.app_sends(GET)
    one.origin_sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece, sent = bytes(1 << 20), 0
    while sent <= GATHER_LIMIT:
        assert one.take(APP) == b""
        one.origin_sends(b"%x\r\n%b\r\n" % (len(piece), piece))
        sent += len(piece)
    assert len(one.take(APP)) > GATHER_LIMIT
    one.origin_sends(b"0\r\n\r\n")

    assert "response" not in listener.heard
    assert one.record.note is not None and "16 MiB" in one.record.note


@pytest.mark.parametrize("kind", [b"text/event-stream", b"application/grpc+proto"])
def test_bodies_whose_parts_are_waited_for_are_never_gathered(kind: bytes) -> None:
    one = rig(Listener())
    one.app_sends(GET)
    one.origin_sends(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n\r\npart" % kind)

    assert b"part" in one.take(APP)


def test_a_response_until_the_end_of_the_connection_ends_with_it() -> None:
    one = rig()
    one.app_sends(GET)
    one.origin_sends(b"HTTP/1.1 200 OK\r\n\r\nsome")
    one.origin_sends(b" more")
    one.ends(ORIGIN)
    head, _, body = one.take(APP).partition(b"\r\n\r\n")

    assert b"Connection: close" in head and b"Transfer-Encoding: chunked" in head
    buffer = bytearray(body)
    reader = ChunkedBody()
    assert reader.take(buffer) == b"some more" and reader.done
    one.ends(APP)
    assert one.closed
    assert one.record.error is None


def test_http10_gets_no_chunks() -> None:
    one = rig()
    one.app_sends(b"GET / HTTP/1.0\r\n\r\n")
    assert one.take(ORIGIN) == b"GET / HTTP/1.0\r\n\r\n"
    one.origin_sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert one.take(APP) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"
    assert APP in one.ended


@pytest.mark.parametrize("where", ["request", "response"])
def test_connection_close_ends_both_sides_after_the_exchange(where: str) -> None:
    one = rig()
    close = b"\r\nConnection: close\r\n\r\n"
    one.app_sends(GET.replace(b"\r\n\r\n", close) if where == "request" else GET)
    one.origin_sends(OK.replace(b"\r\n\r\n", close) if where == "response" else OK)

    assert one.ended == {APP, ORIGIN}
    assert b"Connection: close" in one.take(APP)
    assert not one.closed, "the app may still have to read it"
    one.ends(APP)
    assert one.closed


def test_an_app_that_never_closes_is_left_after_a_while() -> None:
    one = rig()
    one.app_sends(GET)
    one.origin_sends(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    one.advance(LINGER)
    assert one.closed


def test_an_end_of_the_app_goes_on_to_the_origin_and_the_answer_still_comes() -> None:
    one = rig()
    one.app_sends(GET)
    one.ends(APP)
    assert one.ended == {ORIGIN}
    one.origin_sends(OK)
    assert one.take(APP) == OK
    assert one.closed and one.record.error is None


def test_a_response_cut_short_is_cut_short_for_the_app_too() -> None:
    listener = Listener()
    one = rig(listener, frozenset(("error",)))
    one.app_sends(GET)
    one.origin_sends(OK[:-1])
    one.ends(ORIGIN)

    assert one.take(APP) == OK[:-1]
    assert one.ended == {APP, ORIGIN}
    assert one.record.error == "the response was cut short"
    assert listener.heard == ["error"]


def test_bytes_that_answer_nothing_never_reach_the_app() -> None:
    one = rig()
    one.app_sends(GET)
    one.origin_sends(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    one.app_sends(GET)

    assert one.take(APP) == OK
    assert one.ended == {APP, ORIGIN}


def test_an_origin_that_speaks_before_it_is_asked_ends_the_connection_for_good() -> None:
    one = Rig('default = "intercept"', destination=CLEAR, hooks=frozenset(("requestheaders",)))
    one.app_sends(GET)
    one.origin_sends(OK)
    assert one.ended == {APP, ORIGIN}
    one.answer()
    assert (one.take(ORIGIN), one.take(APP)) == (b"", b"")
    assert one.record.error == "the origin spoke before it was asked"


def test_after_an_upgrade_it_is_a_tunnel() -> None:
    one = rig()
    one.app_sends(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nearly")
    assert not one.take(ORIGIN).endswith(b"early")
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n"
    one.origin_sends(switching + b"\x00\x01")
    assert (one.take(APP), one.take(ORIGIN)) == (switching + b"\x00\x01", b"early")
    one.app_sends(b"\r\n\r\n")
    one.ends(APP)
    one.origin_sends(b"bye")
    one.ends(ORIGIN)
    assert (one.take(ORIGIN), one.take(APP)) == (b"\r\n\r\n", b"bye")
    assert one.closed


def test_an_upgrade_that_is_declined_stays_http() -> None:
    one = rig()
    one.app_sends(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n" + GET)
    one.take(ORIGIN)
    one.origin_sends(OK)
    assert one.take(ORIGIN) == GET


def test_http2_is_not_asked_for_in_the_middle_of_http1() -> None:
    one = rig()
    one.app_sends(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"
    )
    assert one.take(ORIGIN) == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_an_answered_connect_is_a_tunnel() -> None:
    one = rig()
    one.app_sends(b"CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n")
    one.origin_sends(b"HTTP/1.1 200 Connection established\r\n\r\n")
    one.app_sends(b"\x16\x03")
    assert one.take(ORIGIN).endswith(b"\r\n\r\n\x16\x03")
    assert (one.record.method, one.record.host) == ("CONNECT", "b.example")


def test_a_listener_cannot_make_two_messages_of_one() -> None:
    def inject(flow: HttpFlow) -> None:
        flow.request.headers.fields.append((b"X", b"a\r\n\r\nGET /evil HTTP/1.1"))

    one = rig(Listener(request=inject))
    one.app_sends(GET)
    assert one.take(ORIGIN) == b""
    assert one.take(APP).startswith(b"HTTP/1.1 502 ")


# Per-request policy.

RULES = """default = "inspect"
[[rule]]
name = "no admin"
path = "/admin/**"
action = "block"
[[rule]]
name = "no evil"
host = "evil.example"
action = "block"
"""


def test_a_blocked_request_is_refused_alone_and_the_connection_goes_on() -> None:
    one = rig(policy=RULES)
    one.app_sends(GET)
    one.origin_sends(OK)
    one.app_sends(GET.replace(b"/x", b"/admin/y"))
    one.app_sends(GET.replace(b"a.example", b"evil.example"))
    one.app_sends(POST.replace(b"/p", b"/admin/z"))
    one.app_sends(GET)
    one.origin_sends(OK)

    assert one.take(ORIGIN) == GET * 2
    answers = one.take(APP)
    assert answers.count(b"HTTP/1.1 403 ") == 3 and answers.count(OK) == 2
    assert [(one.decision, one.rule, one.status) for one in one.records] == [
        ("inspect", "default", 200), ("block", "no admin", 403), ("block", "no evil", 403),
        ("block", "no admin", 403), ("inspect", "default", 200),
    ]  # fmt: skip


def test_nobody_is_asked_about_a_request_that_is_only_inspected() -> None:
    listener = Listener()
    policy = 'default = "inspect"\n[[rule]]\npath = "/change/**"\naction = "intercept"'
    one = rig(listener, policy=policy)
    one.app_sends(GET)
    one.origin_sends(OK)
    assert listener.heard == []
    one.app_sends(GET.replace(b"/x", b"/change/y"))
    one.origin_sends(OK)
    assert listener.heard == ["requestheaders", "request", "responseheaders", "response"]


def test_inside_tls_each_request_is_decided_too() -> None:
    one = Rig(RULES)
    app = TlsEnd(one, APP, authority.client_context(trusts=authority.root("proxy")), "a.example")
    origin = TlsEnd(one, ORIGIN, authority.server_context("a.example"))
    pump(app, origin)
    app.send(GET + GET.replace(b"a.example", b"evil.example"))
    pump(app, origin)
    origin.send(OK)
    pump(app, origin)

    assert bytes(origin.received) == GET
    assert bytes(app.received).startswith(OK + b"HTTP/1.1 403 ")
    assert [(one.protocol, one.decision, one.host) for one in one.records] == [
        ("https", "inspect", "a.example"), ("https", "block", "evil.example"),
    ]  # fmt: skip


def test_a_connection_that_no_rule_divides_stays_with_the_observer() -> None:
    one = rig(policy='default = "inspect"\n[[rule]]\nhost = "b.example"\naction = "relay"')
    odd = b"GET /x HTTP/1.1\nHost: a.example\n\n"  # bare LF: as received
    one.app_sends(odd)
    assert one.take(ORIGIN) == odd


# Any cut of the bytes.

CONVERSATION = [
    (POST, OK),
    (
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nT: 1\r\n\r\n"
        ),
    ),
    (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    (GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


def body_of(buffer: bytearray, is_chunked: bool, length: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    if is_chunked:
        reader = ChunkedBody()
        data = reader.take(buffer)
        assert reader.done
        return data, reader.trailers
    data = bytes(buffer[:length])
    del buffer[:length]
    return data, []


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12), st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_however_the_bytes_are_cut_the_messages_are_the_same(up: list[int], down: list[int], listened: bool) -> None:
    one = rig(Listener() if listened else None)
    for request, response in CONVERSATION:
        for piece in pieces(request, up):
            one.app_sends(piece)
        for piece in pieces(response, down):
            one.origin_sends(piece)
    sent, got = bytearray(one.take(ORIGIN)), bytearray(one.take(APP))
    for request, response in CONVERSATION:
        assert_same_request(sent, bytearray(request))
        assert_same_responses(got, bytearray(response), request.startswith(b"HEAD"))
    assert not sent and not got
    assert len(one.records) == len(CONVERSATION)


def assert_same_request(found: bytearray, wanted: bytearray) -> None:
    heads = [parse_request(take_head(one) or b"") for one in (found, wanted)]
    assert (heads[0].method, heads[0].target) == (heads[1].method, heads[1].target)
    facts = [head.facts for head in heads]
    bodies = [body_of(b, f.chunked, f.length or 0) for b, f in zip((found, wanted), facts, strict=True)]
    assert bodies[0] == bodies[1]


def assert_same_responses(found: bytearray, wanted: bytearray, to_head: bool) -> None:
    while wanted:
        heads = [parse_response(take_head(one) or b"") for one in (found, wanted)]
        assert heads[0].status == heads[1].status
        if heads[0].status >= 200 and not to_head:
            facts = [head.facts for head in heads]
            bodies = [body_of(b, f.chunked, f.length or 0) for b, f in zip((found, wanted), facts, strict=True)]
            assert bodies[0] == bodies[1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=80)), max_size=10), st.booleans())
def test_any_bytes_end_in_order(chunks: list[tuple[bool, bytes]], listened: bool) -> None:
    one = rig(Listener() if listened else None)
    one.app_sends(GET)
    for from_app, data in chunks:
        if one.over:
            break
        if from_app:
            one.app_sends(data)
        else:
            one.origin_sends(data)
    if not one.over:
        one.ends(APP)
    if not one.over:
        one.ends(ORIGIN)
    one.advance(LINGER + 1)
    assert one.over and one.records


@pytest.mark.parametrize("way", [True, bytes.upper], ids=["as it is", "changed"])
def test_the_end_of_what_a_listener_streams_is_told_and_not_waited_for(way: bool | Callable[[bytes], bytes]) -> None:
    seen: list[tuple[bytes | None, float | None]] = []

    def stream_request(flow: HttpFlow) -> None:
        flow.request.stream = way

    def stream_response(flow: HttpFlow) -> None:
        assert flow.response is not None
        flow.response.stream = way

    def told(flow: HttpFlow) -> None:
        message = flow.response or flow.request
        seen.append((message.raw_content, message.timestamp_end))
        message.raw_content = b"too late"

    listener = Listener(requestheaders=stream_request, request=told, responseheaders=stream_response, response=told)
    one = rig(listener)
    one.app_sends(POST)
    one.origin_sends(OK)
    assert listener.heard == ["requestheaders", "request", "responseheaders", "response"]
    assert [content for content, _ in seen] == [None, None] and all(ended for _, ended in seen)
    assert one.take(ORIGIN).lower().endswith(b"hello\r\n0\r\n\r\n" if callable(way) else b"hello")
    assert one.record.error is None


def test_what_is_streamed_because_it_is_long_or_endless_is_not_told_of() -> None:
    listener = Listener()
    one = rig(listener, frozenset(("response",)))
    one.app_sends(GET)
    one.origin_sends(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    )
    assert listener.heard == [] and one.take(APP).endswith(b"1\r\nx\r\n0\r\n\r\n")
