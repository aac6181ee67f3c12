"""HTTP/2 in clear, by clients that know beforehand that the server speaks it (RFC 9113 3.3): gRPC without TLS."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived

from pointsman.engine.messages import HttpFlow, Subject
from pointsman.engine.peek import CERTAIN_TIMEOUT, PEEK_TIMEOUT, Peek
from pointsman.testing.memory import APP, ORIGIN, Rig
from pointsman.wire.http2_frames import PREFACE, FrameType, is_greeting
from pointsman.wire.http2_messages import write_frame, write_settings

INSPECT, INTERCEPT = 'default = "inspect"', 'default = "intercept"'
BLOCKED = 'default = "inspect"\n[[rule]]\nhost = "no.example"\naction = "block"\n'


def asked(rig: Rig, *hosts: str) -> H2Connection:
    app = H2Connection(H2Configuration(client_side=True, header_encoding=False))
    app.initiate_connection()
    for number, host in enumerate(hosts):
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", f"/{number}")]
        app.send_headers(2 * number + 1, fields, end_stream=True)
    rig.app_sends(app.data_to_send())
    return app


def answered(rig: Rig) -> list[dict[bytes, bytes]]:
    """The requests that arrived; each got `ok`."""
    origin = H2Connection(H2Configuration(client_side=False, header_encoding=False))
    origin.initiate_connection()
    requests = []
    for _ in range(3):
        for event in origin.receive_data(rig.take(ORIGIN)):
            if isinstance(event, RequestReceived):
                requests.append(dict(event.headers))
                origin.send_headers(event.stream_id, [(":status", "200"), ("content-length", "2")])
                origin.send_data(event.stream_id, b"ok", end_stream=True)
        rig.origin_sends(origin.data_to_send())
    return requests


def got(rig: Rig, app: H2Connection) -> tuple[list[str], bytes]:
    statuses, body = [], b""
    for event in app.receive_data(rig.take(APP)):
        if isinstance(event, ResponseReceived):
            statuses.append(dict(event.headers)[b":status"].decode())
        elif isinstance(event, DataReceived):
            body += event.data
    return statuses, body


@pytest.mark.parametrize("policy", [INSPECT, INTERCEPT])
def test_each_request_is_carried_and_told(policy: str) -> None:
    rig = Rig(policy, destination=("192.0.2.1", 80))
    app = asked(rig, "a.example", "b.example")
    requests = answered(rig)

    assert [one[b":authority"] for one in requests] == [b"a.example", b"b.example"]
    assert got(rig, app) == (["200", "200"], b"okok")
    assert [(one.protocol, one.host, one.path, one.status) for one in rig.records] == [
        ("h2c", "a.example", "/0", 200), ("h2c", "b.example", "/1", 200),
    ]  # fmt: skip


def test_in_inspect_every_byte_goes_on_as_it_came() -> None:
    rig = Rig(INSPECT, destination=("192.0.2.1", 80))
    app = H2Connection(H2Configuration(client_side=True, header_encoding=False))
    app.initiate_connection()
    sent = app.data_to_send()
    for at in range(len(sent)):
        rig.app_sends(sent[at : at + 1])
    assert bytes(rig.received[ORIGIN]) == sent


def test_a_request_for_a_blocked_host_gets_a_403_and_the_connection_goes_on() -> None:
    rig = Rig(BLOCKED, destination=("192.0.2.1", 80))
    app = asked(rig, "no.example", "a.example")
    requests = answered(rig)

    assert [one[b":authority"] for one in requests] == [b"a.example"]
    statuses, _ = got(rig, app)
    assert sorted(statuses) == ["200", "403"]
    assert {(one.host, one.decision, one.status) for one in rig.records} == {
        ("no.example", "block", 403), ("a.example", "inspect", 200),
    }  # fmt: skip


def test_a_listener_changes_it() -> None:
    def stamp(hook: str, subject: Subject) -> None:
        if hook == "request":
            assert isinstance(subject, HttpFlow)
            subject.request.headers["x-seen"] = subject.request.scheme

    rig = Rig(INTERCEPT, destination=("192.0.2.1", 80), hooks=frozenset(("request",)), listener=stamp)
    app = asked(rig, "a.example")
    (request,) = answered(rig)
    assert request[b"x-seen"] == b"http" and got(rig, app)[0] == ["200"]


def test_relayed_it_is_one_record_that_says_what_it_was() -> None:
    rig = Rig('default = "relay"\n[[rule]]\nprotocol = "tls"\naction = "block"\n', destination=("192.0.2.1", 80))
    asked(rig, "a.example")
    for side in (APP, ORIGIN):
        rig.ends(side)
    assert (rig.record.protocol, rig.record.path) == ("h2c", None)


GREETING = write_settings([(3, 100)])


@pytest.mark.parametrize("policy", [INSPECT, INTERCEPT])
@pytest.mark.parametrize("cut", [0, 10])
def test_a_server_that_greets_first_is_no_reason_to_look_away(policy: str, cut: int) -> None:
    """`cut`: bytes of the app that come before."""
    rig = Rig(policy, destination=("192.0.2.1", 80))
    rig.app_sends(PREFACE[:cut])
    rig.origin_sends(GREETING)
    rig.advance(PEEK_TIMEOUT - 0.01)
    rig.origin_sends(write_frame(FrameType.WINDOW_UPDATE, 0, 0, b"\0\0\1\0"))
    assert not rig.received[APP] and not rig.received[ORIGIN]
    app = H2Connection(H2Configuration(client_side=True, header_encoding=False))
    app.initiate_connection()
    app.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")], end_stream=True)
    rig.app_sends(app.data_to_send()[cut:])
    greeted = rig.take(APP)
    assert greeted.startswith(GREETING) if policy == INSPECT else greeted
    app.receive_data(greeted)
    origin = H2Connection(H2Configuration(client_side=False, header_encoding=False))
    events = origin.receive_data(rig.take(ORIGIN))
    assert [dict(one.headers)[b":path"] for one in events if isinstance(one, RequestReceived)] == [b"/"]
    rig.ends(ORIGIN)
    rig.ends(APP)
    assert (rig.records[-1].protocol, rig.records[-1].path) == ("h2c", "/")


def test_who_is_greeted_like_that_and_stays_silent_gets_it_after_a_moment() -> None:
    rig = Rig(INSPECT, destination=("192.0.2.1", 80))
    rig.origin_sends(GREETING)
    rig.advance(PEEK_TIMEOUT)
    assert bytes(rig.received[APP]) == GREETING
    rig.app_sends(b"hello")
    assert bytes(rig.received[ORIGIN]) == b"hello"
    for side in (ORIGIN, APP):
        rig.ends(side)
    assert rig.record.protocol == "tcp"


def test_an_origin_that_greets_and_goes_is_heard_to_the_end() -> None:
    rig = Rig(INSPECT, destination=("192.0.2.1", 80))
    rig.origin_sends(GREETING)
    rig.ends(ORIGIN)
    assert bytes(rig.received[APP]) == GREETING and APP in rig.ended


@pytest.mark.parametrize(
    "data",
    [b"220 mail\r\n", GREETING[:8], b"\0\0\5" + GREETING[3:], GREETING[:4] + b"\1" + GREETING[5:],
     GREETING[:8] + b"\1" + GREETING[9:], b""],
)  # fmt: skip
def test_what_is_no_greeting(data: bytes) -> None:
    assert is_greeting(GREETING) and is_greeting(write_settings([])) and not is_greeting(data)


def test_half_a_preface_is_waited_for_as_long_as_a_head() -> None:
    peek = Peek()
    assert peek.receive(PREFACE[:-1], 0.0) is None
    assert peek.deadline == CERTAIN_TIMEOUT
    found = peek.receive(PREFACE[-1:] + b"more", 1.0)
    assert found is not None and found.is_http2 and found.held == PREFACE + b"more"


@pytest.mark.parametrize("data", [PREFACE[:-1] + b"x", b"PRI * HTTP/2.1\r\n", b"PRINT"])
def test_what_only_begins_like_it_is_none(data: bytes) -> None:
    found = Peek().receive(data, 0.0)
    assert found is not None and not found.is_http2
