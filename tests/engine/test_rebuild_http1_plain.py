"""The short way of an exchange does what the long way does, byte for byte, whatever listeners change."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.engine.messages import Headers, HttpFlow, Response, Subject
from pointsman.engine.rebuild_http1_plain import PlainExchange
from pointsman.testing.memory import APP, ORIGIN, Rig
from pointsman.wire.http1_heads import HeadError, parse_request, parse_response, write_request, write_response
from pointsman.wire.http1_plain import RequestReader, read_response

CLEAR = ("192.0.2.1", 80)
HOOKS = ("requestheaders", "request", "responseheaders", "response", "error")
POLICIES = (
    'default = "intercept"',
    'default = "intercept"\n[[rule]]\nname = "no"\npath = "/secret*"\naction = "block"\n',
    'default = "inspect"\n[[rule]]\nname = "yes"\npath = "/x*"\naction = "intercept"\n',
)
REQUESTS = (
    b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: Keep-Alive\r\nAccept: */*\r\n\r\n",
    b"GET /secret HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"HEAD /x HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: b.example:80\r\nX:  two spaces\r\n\r\n",
    b"GET /y HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET /y HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi",
    b"GET /x HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\n\r\n",
    b"GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\nGET /next HTTP/1.1\r\nHost: a.example\r\n\r\n",
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 \r\nServer: x\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 02\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nServer : x\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"nonsense\r\n\r\n",
)


def add(flow: HttpFlow) -> None:
    (flow.response or flow.request).headers["X-Seen"] = "yes"


def look(flow: HttpFlow) -> None:
    dict((flow.response or flow.request).headers)


def replace(flow: HttpFlow) -> None:
    message = flow.response or flow.request
    message.headers = Headers([*message.headers.fields, (b"X-New", b"1")])


def remove_framing(flow: HttpFlow) -> None:
    headers = (flow.response or flow.request).headers
    for name in ("host", "content-length"):
        headers.pop(name, None)


def frame_twice(flow: HttpFlow) -> None:
    headers = (flow.response or flow.request).headers
    for name, value in (("Content-Length", "7"), ("Transfer-Encoding", "chunked"), ("Host", "evil"), ("Expect", "x")):
        headers.add(name, value)


def split_head(flow: HttpFlow) -> None:
    (flow.response or flow.request).headers["X"] = "1\r\nHost: evil"


def elsewhere(flow: HttpFlow) -> None:
    flow.request.path, flow.request.authority = "/other", "c.example"


def ask_for_head(flow: HttpFlow) -> None:
    flow.request.method = "HEAD"


def answer(flow: HttpFlow) -> None:
    flow.response = Response.make(418, b"teapot")


def kill(flow: HttpFlow) -> None:
    flow.kill()


def body(flow: HttpFlow) -> None:
    (flow.response or flow.request).content = b"another body"


def same_size(flow: HttpFlow) -> None:
    (flow.response or flow.request).raw_content = b"OK"


def stream(flow: HttpFlow) -> None:
    (flow.response or flow.request).stream = lambda data: data.upper()


def status(flow: HttpFlow) -> None:
    if flow.response is not None:
        flow.response.status_code, flow.response.reason = 500, "Changed"


def no_content(flow: HttpFlow) -> None:
    if flow.response is not None:
        flow.response.status_code = 204


def trailers(flow: HttpFlow) -> None:
    (flow.response or flow.request).trailers = Headers([(b"X-Sum", b"1")])


def older(flow: HttpFlow) -> None:
    (flow.response or flow.request).http_version = "HTTP/1.0"


CHANGES = (
    add, look, replace, remove_framing, frame_twice, split_head, elsewhere, ask_for_head, answer, kill, body, same_size,
    stream, status, no_content, trailers, older,
)  # fmt: skip
Change = Callable[[HttpFlow], None]
Story = tuple[object, ...]


def told(
    policy: str,
    hooks: frozenset[str],
    changes: dict[str, Change],
    pairs: list[tuple[bytes, bytes]],
    end: str,
    *,
    within: bool = False,
) -> Story:
    """What both ends got and saw, who was asked about what, and the records."""
    heard: list[tuple[object, ...]] = []

    def listener(hook: str, subject: Subject) -> None:
        assert isinstance(subject, HttpFlow)
        request, response = subject.request, subject.response
        answered = (response.status_code, response.raw_content, response.timestamp_end) if response else None
        heard.append((hook, request.method, request.path, request.raw_content, request.timestamp_end, answered))
        if hook in changes:
            changes[hook](subject)

    answers = listener if end != "unanswered" else None
    one = Rig(policy, destination=CLEAR, hooks=hooks, listener=answers, answers_within=within)
    for request, response in pairs:
        if not one.closed and not one.aborted:
            one.app_sends(request)
        if one.received[ORIGIN] and not one.closed and not one.aborted and end != "unasked":
            one.origin_sends(response)
    if not one.closed and not one.aborted:
        one.ends(APP if end == "app" else ORIGIN)
    ends = bytes(one.received[APP]), bytes(one.received[ORIGIN]), one.ended, one.closed, one.aborted
    return (*ends, heard, [c.hook for c in one.consults], one.records)


def both_ways(
    policy: str, hooks: frozenset[str], changes: dict[str, Change], pairs: list[tuple[bytes, bytes]], end: str
) -> tuple[Story, Story]:
    short = told(policy, hooks, changes, pairs, end)
    assert told(policy, hooks, changes, pairs, end, within=True) == short, "when an answer comes makes no difference"
    with patch.object(PlainExchange, "request", lambda *_: None):
        return short, told(policy, hooks, changes, pairs, end)


PAIRS = st.lists(
    st.tuples(
        st.one_of(st.just(REQUESTS[0]), st.sampled_from(REQUESTS)),
        st.one_of(st.just(RESPONSES[0]), st.sampled_from(RESPONSES)),
    ),
    min_size=1,
    max_size=3,
)


@given(
    policy=st.sampled_from(POLICIES),
    hooks=st.frozensets(st.sampled_from(HOOKS)),
    changes=st.dictionaries(st.sampled_from(HOOKS[:4]), st.sampled_from(CHANGES), max_size=2),
    pairs=PAIRS,
    end=st.sampled_from(("app", "origin", "unanswered", "unasked")),
)
def test_short_and_long_way_are_one(
    policy: str, hooks: frozenset[str], changes: dict[str, Change], pairs: list[tuple[bytes, bytes]], end: str
) -> None:
    short, long = both_ways(policy, hooks, changes, pairs, end)
    assert short == long


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("hook", HOOKS[:4])
def test_every_change_in_every_hook(change: Change, hook: str) -> None:
    pairs = [(REQUESTS[0], RESPONSES[0])] * 2
    for hooks in (frozenset((hook,)), frozenset(HOOKS)):
        short, long = both_ways(POLICIES[0], hooks, {hook: change}, pairs, "app")
        assert short == long


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("response", RESPONSES)
def test_every_message_with_and_without_listeners(request_: bytes, response: bytes) -> None:
    for hooks in (frozenset[str](), frozenset(HOOKS)):
        short, long = both_ways(POLICIES[1], hooks, {}, [(request_, response)], "origin")
        assert short == long


def test_the_short_way_is_gone() -> None:
    """Else nothing of this file tests anything."""
    with patch.object(PlainExchange, "transaction", side_effect=AssertionError("the long way")):
        one = Rig(POLICIES[0], destination=CLEAR, hooks=frozenset(HOOKS), listener=lambda _, flow: add(flow))  # type: ignore[arg-type]  # HTTP alone
        for _ in range(2):
            one.app_sends(REQUESTS[0])
            assert one.take(ORIGIN) == REQUESTS[0][:-2] + b"X-Seen: yes\r\n\r\n"
            one.origin_sends(RESPONSES[0])
            assert one.take(APP) == RESPONSES[0][:-4] + b"X-Seen: yes\r\n\r\nok"
    assert [record.status for record in one.records] == [200, 200]


PARTS = (
    b"GET /x HTTP/1.1", b"HTTP/1.1 200 OK", b"\r\n", b"\n", b"Host: a", b"Content-Length: 2", b"ok", b"X: y", b"\x00",
    b"Connection: keep-alive", b" ", b":", b"Transfer-Encoding: chunked",
)  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_what_is_plain_is_what_the_strict_reader_would_write_again(parts: list[bytes]) -> None:
    data = b"".join(parts)
    request = RequestReader().read(data)
    if request is not None:
        head = parse_request(data)
        assert write_request(head.method, head.target, head.minor, head.fields) == data
        assert (head.method, head.target, head.facts.host) == request[:3]
        assert head.facts.length is None and not head.facts.chunked and head.facts.persists(1)
    response = read_response(data)
    if response is not None:
        begin = response[3]
        read = parse_response(data[:begin])
        assert write_response(read.status, read.reason, read.minor, read.fields) == data[:begin]
        assert read.facts.length == len(data) - begin and not read.facts.chunked and read.facts.persists(1)


def test_a_repeated_request_is_judged_by_its_own_line() -> None:
    reader = RequestReader()
    rest = b" HTTP/1.1\r\nHost: a.example\r\n\r\n"
    assert reader.read(b"GET /x" + rest) is not None
    for line in (b"GET /x HTTP/1.1\r\nX: y\r\nGET /x", b"GET  /x", b"GET /x y", b"G@T /x", b"GET http://b/", b"GET *"):
        assert reader.read(line + rest) is None
    again = reader.read(b"PUT /y" + rest)
    assert again is not None and again[:3] == (b"PUT", b"/y", b"a.example")
    with pytest.raises(HeadError):
        parse_request(b"GET  /x" + rest)
