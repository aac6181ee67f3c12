"""HTTP/2 rebuilt between two ends on h2: messages, flow control, resets, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.http2_world import APP, ORIGIN, REQUEST, Listener, World, events

from pointsman.engine.http2_end import CONNECTION_WINDOW, RESETS_BURST, STREAM_WINDOW
from pointsman.engine.messages import Headers, HttpFlow, Response
from pointsman.wire.http2_frames import FrameType
from pointsman.wire.http2_messages import ErrorCode, FrameSplitter, write_frame

ALL = frozenset(("requestheaders", "request", "responseheaders", "response", "error"))
BIG = bytes(range(256)) * 4 * 1024  # 1 MiB


def test_a_request_and_its_answer_arrive_as_they_were_sent() -> None:
    world = World()
    world.app.send_headers(1, [*REQUEST, ("cookie", "a=1"), ("cookie", "b=2"), ("x-y", "z")])
    world.app.send_data(1, b"hello")
    world.app.send_headers(1, [("checksum", "1")], end_stream=True)
    world.pump()

    (request,) = world.of(ORIGIN, events.RequestReceived)
    assert request.headers == [*REQUEST, ("x-y", "z"), ("cookie", "a=1; b=2")], "h2 joins the crumbs"
    assert world.body(ORIGIN, 1) == b"hello"
    assert world.of(ORIGIN, events.TrailersReceived)[0].headers == [("checksum", "1")]
    world.origin.send_headers(1, [(":status", "103"), ("link", "</a>")])
    world.origin.send_headers(1, [(":status", "200"), ("content-type", "x/y")])
    world.origin.send_data(1, b"answer")
    world.origin.send_headers(1, [("grpc-status", "0")], end_stream=True)
    world.pump()
    assert world.of(APP, events.InformationalResponseReceived)[0].headers[0] == (":status", "103")
    assert world.of(APP, events.ResponseReceived)[0].headers == [(":status", "200"), ("content-type", "x/y")]
    assert world.body(APP, 1) == b"answer"
    assert world.of(APP, events.TrailersReceived)[0].headers == [("grpc-status", "0")]
    assert len(world.of(APP, events.StreamEnded)) == 1
    (exchange,) = world.exchanges()
    assert (exchange.method, exchange.path, exchange.host, exchange.status) == ("GET", "/x", "a.example", 200)
    assert (exchange.error, exchange.decision) == (None, "intercept")


@pytest.mark.parametrize("announced", [False, True])
def test_a_gathered_message_with_trailers_gets_no_length_that_its_sender_did_not_name(announced: bool) -> None:
    """Who is told one may stop reading there."""
    length = [("content-length", "4")] if announced else []
    world = World(hooks=frozenset(("request", "response")), listener=Listener())
    world.app.send_headers(1, [(":method", "POST"), *REQUEST[1:], *length])
    world.app.send_data(1, b"asks")
    world.app.send_headers(1, [("x-sum", "1")], end_stream=True)
    world.pump()
    world.origin.send_headers(1, [(":status", "200"), *length])
    world.origin.send_data(1, b"told")
    world.origin.send_headers(1, [("x-sum", "2")], end_stream=True)
    world.pump()

    (asked,), (told,) = world.of(ORIGIN, events.RequestReceived), world.of(APP, events.ResponseReceived)
    for headers in (asked.headers, told.headers):
        assert [field for field in headers if field[0] == "content-length"] == length
    assert world.of(ORIGIN, events.TrailersReceived)[0].headers == [("x-sum", "1")]
    assert world.of(APP, events.TrailersReceived)[0].headers == [("x-sum", "2")]


def test_data_goes_on_at_once_in_both_directions() -> None:
    world = World()
    world.request(end=False)
    world.origin.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    for turn in range(5):
        message = b"%d" % turn
        world.app.send_data(1, message)
        world.pump()
        assert world.body(ORIGIN, 1).endswith(message)
        world.origin.send_data(1, message * 2)
        world.pump()
        assert world.body(APP, 1).endswith(message * 2)
    world.app.end_stream(1)
    world.pump()
    world.origin.send_headers(1, [("grpc-status", "0")], end_stream=True)
    world.pump()
    assert world.exchanges()[0].error is None


@pytest.mark.parametrize("hooks", [frozenset(), ALL])
def test_many_streams_at_once_with_big_bodies_both_ways(hooks: frozenset[str]) -> None:
    world = World(hooks=hooks, listener=Listener())
    numbers = range(1, 21, 2)
    left = {}
    for number in numbers:
        world.app.send_headers(number, REQUEST)
        left[number] = BIG
    while left:
        for number, data in list(left.items()):
            size = min(world.app.local_flow_control_window(number), 16384, len(data))
            world.app.send_data(number, data[:size], end_stream=size == len(data))
            left[number] = data[size:]
            if not left[number]:
                del left[number]
        world.pump()
    for number in numbers:
        assert world.body(ORIGIN, number) == BIG
        world.origin.send_headers(number, [(":status", "200")])
        rest = BIG
        while rest:
            size = min(world.origin.local_flow_control_window(number), 16384, len(rest))
            world.origin.send_data(number, rest[:size], end_stream=size == len(rest))
            rest = rest[size:]
            world.pump()
        assert world.body(APP, number) == BIG
    assert len(world.exchanges()) == len(numbers)


def test_whoever_does_not_read_holds_up_only_what_a_window_takes() -> None:
    world = World()
    world.acknowledges = False
    world.request(1)
    world.request(3)
    world.origin.send_headers(1, [(":status", "200")])
    sent = 0
    while (size := min(world.origin.local_flow_control_window(1), 16384)) > 0:
        world.origin.send_data(1, bytes(size))
        sent += size
        world.pump()
    taken = len(world.body(APP, 1))
    assert taken == 65535, "as far as the app's own window goes"
    assert sent - taken <= STREAM_WINDOW + 65536
    world.origin.send_headers(3, [(":status", "204")], end_stream=True)
    world.pump()
    assert [e.stream_id for e in world.of(APP, events.StreamEnded)] == [3], "other streams go on"


def test_the_hooks_come_in_their_order_and_change_what_is_sent() -> None:
    def change_request(flow: HttpFlow) -> None:
        flow.request.headers["X-New"] = "1"
        flow.request.path = "/y"
        flow.request.raw_content = b"more"

    def change_response(flow: HttpFlow) -> None:
        assert flow.response is not None and flow.response.raw_content == b"ok"
        flow.response.raw_content = b"changed"
        flow.response.status_code = 201

    listener = Listener(request=change_request, response=change_response)
    world = World(hooks=ALL, listener=listener)
    world.request()
    (request,) = world.of(ORIGIN, events.RequestReceived)
    assert dict(request.headers) | {} == {**dict(REQUEST), ":path": "/y", "x-new": "1", "content-length": "4"}
    assert world.body(ORIGIN, 1) == b"more"
    world.respond()
    assert world.of(APP, events.ResponseReceived)[0].headers == [(":status", "201"), ("content-length", "7")]
    assert world.body(APP, 1) == b"changed"
    assert listener.heard == ["requestheaders", "request", "responseheaders", "response"]


def test_one_stream_waits_for_its_listener_and_others_do_not() -> None:
    world = World(hooks=frozenset(("requestheaders",)))
    world.request(1, end=False)
    world.app.send_data(1, b"held", end_stream=True)
    world.pump()
    world.request(3)
    world.consults.reverse()
    world.answer()
    assert [e.headers[2] for e in world.of(ORIGIN, events.RequestReceived)] == [(":path", "/x")]
    world.answer()
    assert len(world.of(ORIGIN, events.RequestReceived)) == 2
    assert world.body(ORIGIN, 3) == b"held"


def test_a_listener_may_answer_itself_or_kill() -> None:
    def decide(flow: HttpFlow) -> None:
        if flow.request.path == "/kill":
            flow.killed = True
        else:
            flow.response = Response(200, "", "HTTP/2.0", Headers([(b"X", b"1")]), b"mine")

    world = World(hooks=ALL, listener=Listener(requestheaders=decide))
    world.request(1)
    world.request(3, path="/kill")
    assert world.body(APP, 1) == b"mine"
    (reset,) = world.of(APP, events.StreamReset)
    assert (reset.stream_id, reset.error_code) == (3, ErrorCode.CANCEL)
    assert world.of(ORIGIN, events.RequestReceived) == []
    assert [one.error for one in world.exchanges()] == [None, "killed by an addon"]


def test_each_request_is_decided_by_its_own_host() -> None:
    policy = 'default = "inspect"\n[[rule]]\nname = "evil"\nhost = "evil.example"\naction = "block"'
    world = World(policy)
    world.request(1)
    world.request(3, authority="evil.example")
    world.request(5, authority="evil.example", end=False)
    world.respond(1)

    assert len(world.of(ORIGIN, events.RequestReceived)) == 1
    statuses = [dict(e.headers)[":status"] for e in world.of(APP, events.ResponseReceived)]
    assert sorted(statuses) == ["200", "403", "403"]
    assert [e.error_code for e in world.of(APP, events.StreamReset)] == [ErrorCode.NO_ERROR]
    assert [(one.decision, one.rule) for one in world.exchanges()] == [
        ("block", "evil"), ("block", "evil"), ("inspect", "default"),
    ]  # fmt: skip


@pytest.mark.parametrize("side", [APP, ORIGIN])
def test_a_reset_goes_on_to_the_other_side(side: object) -> None:
    world = World()
    world.request(end=False)
    peer, other = (world.app, ORIGIN) if side is APP else (world.origin, APP)
    peer.reset_stream(1, ErrorCode.ENHANCE_YOUR_CALM)
    world.pump()

    assert world.of(other, events.StreamReset)[0].error_code == ErrorCode.ENHANCE_YOUR_CALM
    who = "app" if side is APP else "origin"
    assert world.exchanges()[0].error == f"reset by the {who} (ENHANCE_YOUR_CALM)"


def test_a_goaway_of_the_origin_reaches_the_app_and_open_streams_end_well() -> None:
    world = World()
    world.request(1)
    world.origin.close_connection(last_stream_id=1)
    world.send_raw(ORIGIN, world.origin.data_to_send())
    assert world.of(APP, events.ConnectionTerminated)
    world.send_raw(ORIGIN, bytes.fromhex("000001010500000001") + b"\x88")  # :status 200, the end
    frames = list(FrameSplitter(preface=False).feed(bytes(world.raw[APP])))
    assert [(flags & 1, stream) for kind, flags, stream, _ in frames if kind == FrameType.HEADERS] == [(1, 1)]
    assert world.ended == {APP, ORIGIN}


def test_the_end_of_the_origin_cuts_what_is_open_and_no_more() -> None:
    world = World()
    world.request(1)
    world.request(3)
    world.respond(1)
    world._do(world.rebuild.end(ORIGIN, 0.0))
    assert [e.stream_id for e in world.of(APP, events.StreamReset)] == [3]
    assert [one.error for one in world.exchanges()] == [None, "the origin closed the connection"]
    world._do(world.rebuild.end(APP, 0.0))
    assert world.rebuild.finished


MALFORMED = {
    "an upper-case name": [*REQUEST, ("X-Y", "1")],
    "a connection field": [*REQUEST, ("connection", "close")],
    "a transfer coding": [*REQUEST, ("transfer-encoding", "chunked")],
    "a te field": [*REQUEST, ("te", "gzip")],
    "a pseudo field after others": [REQUEST[0], ("x", "1"), *REQUEST[1:]],
    "the same pseudo field twice": [*REQUEST, (":path", "/y")],
    "an unknown pseudo field": [(":what", "1"), *REQUEST],
    "no path": [one for one in REQUEST if one[0] != ":path"],
    "an empty path": [(n, "" if n == ":path" else v) for n, v in REQUEST],
    "a path with a space": [(n, "/a b" if n == ":path" else v) for n, v in REQUEST],
    "no scheme": [one for one in REQUEST if one[0] != ":scheme"],
    "no method": REQUEST[1:],
    "a CR and LF in a value": [*REQUEST, ("x", "a\r\nb: c")],
    "a NUL in a value": [*REQUEST, ("x", "a\0b")],
    "another host": [*REQUEST, ("host", "b.example")],
    "no host": [one for one in REQUEST if one[0] != ":authority"],
    "a host with a space behind it": [(n, v + " " if n == ":authority" else v) for n, v in REQUEST],
    "an empty host": [(n, "" if n == ":authority" else v) for n, v in REQUEST],
    "two lengths": [*REQUEST, ("content-length", "1"), ("content-length", "2")],
    "a length without a body": [*REQUEST, ("content-length", "5")],
}


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_a_malformed_request_is_reset_and_the_connection_goes_on(name: str) -> None:
    world = World()
    for switch in ("validate_outbound_headers", "normalize_outbound_headers"):
        setattr(world.app.config, switch, False)
    world.app.send_headers(1, MALFORMED[name], end_stream=True)
    world.pump()
    world.app.send_headers(3, REQUEST, end_stream=True)
    world.pump()
    world.respond(1)  # the first that the origin sees

    (reset,) = world.of(APP, events.StreamReset)
    assert (reset.stream_id, reset.error_code) == (1, ErrorCode.PROTOCOL_ERROR)
    assert [e.stream_id for e in world.of(APP, events.StreamEnded)] == [3]


def test_a_body_without_a_head_is_no_response() -> None:
    world = World()
    world.request()
    world.send_raw(ORIGIN, write_frame(0, 1, 1, b"body"))
    assert dict(world.of(APP, events.ResponseReceived)[0].headers)[":status"] == "502"
    assert world.exchanges()[0].error == "refused: a body without a head"


def test_less_body_than_announced_is_no_request() -> None:
    world = World()
    world.app.send_headers(1, [*REQUEST, ("content-length", "5")])
    world.app.send_data(1, b"1234")
    world.app.end_stream(1)
    world.pump()
    assert world.of(ORIGIN, events.StreamReset) and not world.of(ORIGIN, events.StreamEnded)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (write_frame(0, 0, 9, b"x"), ErrorCode.PROTOCOL_ERROR),
        (write_frame(1, 4, 2, b"\x82"), ErrorCode.PROTOCOL_ERROR),
        (write_frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (write_frame(9, 4, 1, b"\x82"), ErrorCode.PROTOCOL_ERROR),
        (write_frame(1, 0, 1, b"\x82") + write_frame(6, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (write_frame(1, 0, 1, b"\x82") + write_frame(9, 0, 1, b"") * 70, ErrorCode.ENHANCE_YOUR_CALM),
        (b"\xff\xff\xff" + bytes(6), ErrorCode.FRAME_SIZE_ERROR),
        (write_frame(8, 0, 0, b"\x7f\xff\xff\xff"), ErrorCode.FLOW_CONTROL_ERROR),
        (write_frame(8, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (write_frame(5, 4, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (write_frame(4, 0, 0, b"\0\4\xff\xff\xff\xff"), ErrorCode.FLOW_CONTROL_ERROR),
        (write_frame(4, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    ],
)  # fmt: skip
def test_what_breaks_the_connection_gets_a_goaway(frame: bytes, code: ErrorCode) -> None:
    world = World()
    world.send_raw(APP, frame)
    assert world.of(APP, events.ConnectionTerminated)[0].error_code == code
    assert world.rebuild.failure is not None


def test_more_bytes_than_the_window_lets_end_the_connection() -> None:
    world = World()
    world.acknowledges = False
    world.request(end=False)
    for _ in range(CONNECTION_WINDOW // 16384 + 1):
        if world.rebuild.failure is None:
            world.send_raw(APP, write_frame(0, 0, 1, bytes(16384)))
    assert world.of(APP, events.ConnectionTerminated)[0].error_code == ErrorCode.FLOW_CONTROL_ERROR


def test_rapid_resets_are_cut_off() -> None:
    world = World()
    for number in range(1, 2 * RESETS_BURST + 10, 2):
        world.app.send_headers(number, REQUEST, end_stream=True)
        world.app.reset_stream(number)
        world.pump()
        if world.rebuild.failure is not None:
            break
    assert world.of(APP, events.ConnectionTerminated)[0].error_code == ErrorCode.ENHANCE_YOUR_CALM
    assert len(world.of(ORIGIN, events.RequestReceived)) <= RESETS_BURST + 1


def test_pings_whose_answers_nobody_reads_are_cut_off() -> None:
    world = World()
    world.rebuild.congested(APP)
    for _ in range(100):
        if world.rebuild.failure is None:
            world.send_raw(APP, write_frame(6, 0, 0, bytes(8)) * 1000)
    assert world.rebuild.failure is not None and "nobody reads" in world.rebuild.failure


def test_while_the_app_is_congested_no_data_is_made_for_it() -> None:
    world = World()
    world.request()
    world.rebuild.congested(APP)
    world.respond()
    assert world.body(APP, 1) == b""
    world._do(world.rebuild.drained(APP, 0.0))
    assert world.body(APP, 1) == b"ok"


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 700),
    st.lists(st.tuples(st.binary(max_size=3000), st.binary(max_size=3000)), min_size=1, max_size=6),
    st.booleans(),
)
def test_however_the_bytes_are_cut_the_messages_are_the_same(
    cut: int, bodies: list[tuple[bytes, bytes]], listened: bool
) -> None:
    world = World(hooks=ALL if listened else frozenset(), listener=Listener(), cut=cut)
    for at, (up, _) in enumerate(bodies):
        world.app.send_headers(2 * at + 1, [*REQUEST, ("n", str(at))])
        world.app.send_data(2 * at + 1, up, end_stream=True)
    world.pump()
    for at, (_, down) in enumerate(bodies):
        world.origin.send_headers(2 * at + 1, [(":status", "200"), ("n", str(at))])
        world.origin.send_data(2 * at + 1, down, end_stream=True)
    world.pump()

    for at, (up, down) in enumerate(bodies):
        number = 2 * at + 1
        assert (world.body(ORIGIN, number), world.body(APP, number)) == (up, down)
    assert len(world.exchanges()) == len(bodies)
    assert all(one.error is None for one in world.rebuild.take())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10), st.integers(0, 255), st.integers(0, 5),
                          st.binary(max_size=40)), max_size=12))  # fmt: skip
def test_any_frames_end_in_order(frames: list[tuple[bool, int, int, int, bytes]]) -> None:
    world = World()
    world.request(1, end=False)
    for from_app, kind, flags, stream, payload in frames:
        if world.rebuild.failure is None and not world.rebuild.finished:
            commands = world.rebuild.receive(
                APP if from_app else ORIGIN, write_frame(kind, flags, stream, payload), world.now
            )
            assert isinstance(commands, list)
    world.rebuild.cut(1.0, "the end")
    assert len(world.rebuild.take()) >= 1


@pytest.mark.parametrize("listens", [False, True])
def test_extended_connect_is_offered_on_unless_somebody_listens_to_websockets(listens: bool) -> None:
    hooks = frozenset(("websocket_message",) if listens else ("response",))
    world = World(hooks=hooks, listener=Listener())
    world.origin.update_settings({8: 1})
    world.pump()
    assert world.app.remote_settings.get(8, 0) == (0 if listens else 1)

    fields = [(":method", "CONNECT"), (":protocol", "websocket"), *REQUEST[1:]]
    world.app.send_headers(1, fields)
    world.app.send_data(1, b"to the origin")
    world.pump()
    if listens:
        (reset,) = world.of(APP, events.StreamReset)
        assert reset.error_code == ErrorCode.PROTOCOL_ERROR
        assert not world.of(ORIGIN, events.RequestReceived)
    else:
        (asked,) = world.of(ORIGIN, events.RequestReceived)
        assert (":protocol", "websocket") in asked.headers
        assert world.body(ORIGIN, 1) == b"to the origin"


def test_the_end_of_what_a_listener_streams_is_told_and_not_waited_for() -> None:
    def stream(flow: HttpFlow) -> None:
        (flow.response or flow.request).stream = True

    listener = Listener(requestheaders=stream, responseheaders=stream)
    world = World(hooks=ALL, listener=listener)
    world.app.send_headers(1, REQUEST)
    world.app.send_data(1, b"body", end_stream=True)
    world.pump()
    world.respond()
    assert listener.heard == ["requestheaders", "request", "responseheaders", "response"]
    assert world.body(ORIGIN, 1) == b"body" and world.body(APP, 1) == b"ok" and world.exchanges()[0].error is None
