"""Peeking, deciding, dialling, relaying: what the engine does before and without TLS of its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.engine.connection import HELD_LIMIT
from pointsman.engine.events import Congested, Connected, ConnectFailed, Drained, Lost, Stopping
from pointsman.engine.pages import GATEWAY_PAGE
from pointsman.engine.peek import CERTAIN_TIMEOUT, PEEK_TIMEOUT
from pointsman.testing.authority import client_hello
from pointsman.testing.memory import APP, EPOCH, ORIGIN, Rig
from pointsman.wire.client_hello import ClientHello, parse_client_hello
from pointsman.wire.http2_messages import write_settings
from pointsman.wire.tls_alert import Alert, fatal_alert

RELAY = 'default = "relay"'
BLOCK_A = 'default = "inspect"\n[[rule]]\nname = "no a"\nhost = "a.example"\naction = "block"'
GET = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def test_a_flow_that_nobody_inspects_is_never_read() -> None:
    rig = Rig(RELAY)
    rig.app_sends(b"\x16")

    assert rig.dials == 1
    assert rig.take(ORIGIN) == b"\x16"


def test_a_relay_carries_bytes_both_ways_until_both_directions_have_ended() -> None:
    rig = Rig(RELAY)
    rig.app_sends(b"question")
    rig.ends(APP)
    assert rig.ended == {ORIGIN}
    rig.origin_sends(b"answer")
    assert not rig.over
    rig.ends(ORIGIN)

    assert (rig.take(ORIGIN), rig.take(APP)) == (b"question", b"answer")
    assert rig.closed
    record = rig.record
    assert (record.protocol, record.decision, record.rule) == ("tcp", "relay", "default")
    assert (record.bytes_up, record.bytes_down, record.error) == (8, 6, None)


def test_the_origin_may_end_first_and_still_hear_the_app() -> None:
    rig = Rig(RELAY)
    rig.origin_sends(b"greeting")
    rig.ends(ORIGIN)
    rig.app_sends(b"late")
    rig.ends(APP)

    assert rig.ended == {APP, ORIGIN}
    assert rig.take(ORIGIN) == b"late"
    assert rig.closed


@pytest.mark.parametrize("policy", ['default = "inspect"', BLOCK_A])
def test_a_server_that_speaks_first_is_relayed(policy: str) -> None:
    rig = Rig(policy)
    rig.advance(PEEK_TIMEOUT)
    assert rig.dials == 1
    rig.origin_sends(b"220 mail ESMTP\r\n")
    rig.app_sends(b"EHLO\r\n")

    assert rig.take(APP) == b"220 mail ESMTP\r\n"
    assert rig.take(ORIGIN) == b"EHLO\r\n"
    rig.ends(ORIGIN)
    rig.ends(APP)
    assert (rig.record.protocol, rig.record.decision) == ("tcp", "inspect")


def test_a_service_that_speaks_first_waits_for_nothing_if_no_rule_blocks() -> None:
    rig = Rig()

    assert rig.dials == 1


def test_nothing_leaves_the_machine_while_a_rule_may_still_block() -> None:
    rig = Rig(BLOCK_A)
    assert rig.dials == 0
    rig.app_sends(client_hello("b.example")[:50])
    rig.advance(1.0)

    assert rig.dials == 0


def test_an_app_that_connects_early_and_speaks_late_is_inspected_all_the_same() -> None:
    rig = Rig()
    rig.advance(300.0)
    rig.app_sends(GET)
    rig.origin_sends(OK)

    assert rig.record.method == "GET"


@pytest.mark.parametrize("request_bytes", [GET, client_hello("a.example")])
def test_a_blocked_host_is_refused_before_a_byte_leaves(request_bytes: bytes) -> None:
    rig = Rig(BLOCK_A)
    rig.app_sends(request_bytes)

    if request_bytes is GET:  # who speaks HTTP in clear is told in HTTP
        assert rig.closed
        head, _, body = rig.take(APP).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403 ")
        assert f"Content-Length: {len(body)}".encode() in head
    else:
        assert rig.aborted
    assert rig.dials == 0
    record = rig.record
    assert (record.decision, record.rule, record.host) == ("block", "no a", "a.example")
    assert record.error is None


def test_who_waits_out_the_peek_does_not_escape_a_block() -> None:
    rig = Rig(BLOCK_A)
    rig.advance(5.0)
    rig.app_sends(GET[:3])
    rig.app_sends(GET[3:6])
    rig.advance(5.0)
    rig.app_sends(GET[6:])

    assert rig.closed
    assert rig.take(ORIGIN) == b""


def test_bytes_of_no_known_kind_are_relayed_after_the_peek() -> None:
    rig = Rig()
    rig.app_sends(b"PUT")
    assert rig.take(ORIGIN) == b""
    rig.advance(PEEK_TIMEOUT)

    assert rig.take(ORIGIN) == b"PUT"


def test_a_hello_that_never_comes_to_an_end_is_relayed_at_last() -> None:
    rig = Rig()
    part = client_hello()[:-1]
    rig.app_sends(part)
    rig.advance(CERTAIN_TIMEOUT)

    assert rig.take(ORIGIN) == part


def test_an_app_that_ends_within_the_peek_is_relayed_with_its_end() -> None:
    rig = Rig()
    rig.app_sends(b"GE")
    rig.ends(APP)

    assert rig.take(ORIGIN) == b"GE"
    assert rig.ended == {ORIGIN}


def test_plain_http_is_observed_and_forwarded_as_it_came() -> None:
    rig = Rig(destination=("192.0.2.1", 80))
    rig.app_sends(GET)
    rig.now += 0.5
    rig.origin_sends(OK)

    assert rig.take(ORIGIN) == GET
    record = rig.record
    assert (record.protocol, record.method, record.host, record.path, record.status) == (
        "http/1.1", "GET", "a.example", "/x", 204,
    )  # fmt: skip
    assert (record.time, record.duration_ms, record.app, record.pid) == (EPOCH, 500.0, "/usr/bin/app", 4711)
    assert (record.address, record.port) == ("192.0.2.1", 80)
    rig.ends(APP)
    rig.ends(ORIGIN)
    assert len(rig.records) == 1


def test_http_that_is_only_relayed_is_told_as_one_connection() -> None:
    rig = Rig('default = "direct"\n[[rule]]\nhost = "a.example"\naction = "relay"')
    rig.app_sends(GET)
    rig.origin_sends(OK)
    rig.ends(APP)
    rig.ends(ORIGIN)

    assert (rig.record.method, rig.record.host, rig.record.protocol) == (None, "a.example", "http/1.1")


def test_a_dial_that_fails_resets_the_app_and_says_why() -> None:
    rig = Rig(connects=False)
    rig.app_sends(client_hello("a.example"))
    rig.event(ConnectFailed("connection refused (ECONNREFUSED)"))

    assert rig.aborted
    assert rig.take(APP) == b""
    assert rig.record.error == "dial: connection refused (ECONNREFUSED)"
    assert rig.record.host == "a.example"


def test_a_dial_without_an_answer_is_given_up() -> None:
    rig = Rig(RELAY, connects=False)
    rig.advance(19.9)
    assert not rig.over
    rig.advance(0.2)

    assert rig.aborted
    assert rig.record.error == "dial: no answer within 20 s"


def test_what_the_app_sends_during_the_dial_is_bounded_and_not_lost() -> None:
    rig = Rig(RELAY, connects=False)
    rig.app_sends(b"a" * HELD_LIMIT)
    assert rig.paused == {APP}
    rig.ends(APP)

    rig.event(Connected())

    assert rig.paused == set()
    assert rig.take(ORIGIN) == b"a" * HELD_LIMIT
    assert rig.ended == {ORIGIN}


def test_a_slow_reader_pauses_the_side_that_writes_to_it() -> None:
    rig = Rig(RELAY)
    rig.event(Congested(APP))
    assert rig.paused == {ORIGIN}
    rig.event(Congested(ORIGIN))
    assert rig.paused == {APP, ORIGIN}
    rig.event(Drained(APP))
    assert rig.paused == {APP}


def test_an_idle_connection_is_reset_and_an_active_one_is_not() -> None:
    rig = Rig(RELAY)
    rig.advance(599.0)
    rig.origin_sends(b".")
    rig.advance(599.0)
    assert not rig.over
    rig.advance(2.0)

    assert rig.aborted
    assert rig.record.error == "idle for 600 s"


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (Lost(APP, "connection reset by peer (ECONNRESET)"), "downstream lost: connection reset by peer (ECONNRESET)"),
        (Lost(ORIGIN, "closed"), "upstream lost: closed"),
        (Stopping(), "the proxy stopped"),
    ],
)
def test_a_side_that_is_lost_takes_the_other_with_it(event: Lost | Stopping, error: str) -> None:
    rig = Rig(RELAY)
    rig.event(event)

    assert rig.aborted
    assert rig.record.error == error


def test_an_exchange_under_way_is_told_with_the_error() -> None:
    rig = Rig()
    rig.app_sends(GET)
    rig.event(Lost(ORIGIN, "closed"))

    assert (rig.record.method, rig.record.status, rig.record.error) == ("GET", None, "upstream lost: closed")


def test_last_bytes_that_nobody_takes_are_not_waited_for_for_ever() -> None:
    rig = Rig(RELAY)
    rig.ends(APP)
    rig.ends(ORIGIN)
    assert rig.closed
    rig.closed = False  # the server has not managed to send everything
    rig.advance(60.0)

    assert rig.aborted


def test_events_that_cross_the_end_are_ignored() -> None:
    rig = Rig(RELAY)
    rig.event(Stopping())
    for event in (Connected(), Lost(APP, "x"), ConnectFailed("x"), Stopping(), Drained(APP)):
        rig.event(event)
    rig.app_sends(b"x")

    assert len(rig.records) == 1


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([APP, ORIGIN]), st.binary(max_size=20), st.floats(0, 1)), max_size=12))
def test_whatever_both_ends_say_arrives_whole_and_in_order(script: list[tuple[object, bytes, float]]) -> None:
    rig = Rig()
    sent = {APP: b"", ORIGIN: b""}
    for side, data, pause in script:
        if side is APP:
            sent[ORIGIN] += data
            rig.app_sends(data)
        else:
            sent[APP] += data
            rig.origin_sends(data)
        rig.advance(pause)
    if rig.over or rig.minted:
        return  # a script that begins like TLS would
    rig.advance(CERTAIN_TIMEOUT)

    assert bytes(rig.received[ORIGIN]) == sent[ORIGIN]
    assert bytes(rig.received[APP]) == sent[APP]


def test_a_connection_that_has_lasted_as_long_as_it_may_is_reset_however_busy() -> None:
    rig = Rig(RELAY, life_timeout=100.0)
    for _ in range(10):
        rig.advance(9.9)
        rig.origin_sends(b".")
    assert not rig.over
    rig.advance(1.1)

    assert rig.aborted
    assert rig.record.error == "open for 100 s, which is the limit"


@pytest.mark.parametrize("policy", [RELAY, 'default = "inspect"', 'default = "intercept"'])
def test_a_connection_that_has_carried_as_much_as_it_may_is_reset(policy: str) -> None:
    rig = Rig(policy, max_bytes=1000)
    rig.app_sends(b"\0" * 400)
    rig.advance(1.0)
    rig.origin_sends(b"\1" * 600)
    assert not rig.over
    assert len(rig.received[ORIGIN]) + len(rig.received[APP]) == 1000
    rig.origin_sends(b"\1")

    assert rig.aborted
    assert rig.record.error == "more than 1000 bytes, which is the limit"
    assert rig.record.bytes_up + rig.record.bytes_down == 1001


UPSTREAM = (
    '[upstreams]\nu = "socks5://192.0.2.1:1080"\n[[rule]]\nhost = "a.example"\naction = "upstream"\nupstream = "u"'
)


def test_what_is_to_go_through_an_upstream_is_dialled_through_it_alone_and_by_name() -> None:
    rig = Rig(UPSTREAM)
    assert rig.dials == 0, "not even a connect() may show where it is going"
    rig.app_sends(GET)

    assert rig.dialled == [("u", "a.example")]
    assert rig.take(ORIGIN) == GET


def test_what_goes_through_an_upstream_can_be_decrypted_too() -> None:
    rig = Rig(UPSTREAM.replace('action = "upstream"', 'action = "inspect"'))
    rig.app_sends(client_hello("a.example"))

    assert rig.dialled == [("u", "a.example")]
    assert isinstance(parse_client_hello(rig.take(ORIGIN)), ClientHello), (
        "our own hello, to the origin inside of the tunnel"
    )


@pytest.mark.parametrize(("dns", "dialled_at_once"), [("remote", False), ("app", True)])
def test_a_relay_through_an_upstream_waits_for_the_name_only_if_the_proxy_wants_it(
    dns: str, dialled_at_once: bool
) -> None:
    table = f'[upstreams.u]\nproxies = "socks5://192.0.2.1:1080"\ndns = "{dns}"\n'
    rig = Rig(table + '[[rule]]\nport = 443\naction = "relay"\nupstream = "u"')
    assert rig.dials == dialled_at_once
    rig.app_sends(client_hello("a.example"))

    assert rig.dialled == [("u", None if dialled_at_once else "a.example")]


def test_a_silent_app_is_dialled_as_if_it_never_speaks_and_anew_if_it_does() -> None:
    rig = Rig(UPSTREAM)
    rig.advance(PEEK_TIMEOUT)
    assert rig.dialled == [(None, None)], "perhaps the origin speaks first"
    rig.app_sends(GET)

    assert rig.dialled == [(None, None), ("u", "a.example")]
    assert rig.take(ORIGIN) == GET


def test_what_a_dropped_origin_said_goes_with_it() -> None:
    greeting = write_settings([])
    rig = Rig(UPSTREAM)
    rig.advance(PEEK_TIMEOUT)
    rig.origin_sends(greeting)
    rig.app_sends(GET)

    assert rig.dialled == [(None, None), ("u", "a.example")]
    assert rig.take(APP) == b""
    rig.origin_sends(greeting)
    assert rig.take(APP) == greeting, "the new one's"


def test_a_silent_app_whose_every_connection_goes_through_an_upstream_is_not_dialled_around_it() -> None:
    rig = Rig('[upstreams]\nu = "http://192.0.2.1:1"\n[[rule]]\nport = 443\naction = "inspect"\nupstream = "u"')
    rig.advance(PEEK_TIMEOUT)
    rig.origin_sends(b"220 ready")

    assert rig.dialled == [("u", None)]
    assert rig.take(APP) == b"220 ready"


@pytest.mark.parametrize(
    ("sent", "answer", "aborted"),
    [
        (GET, GATEWAY_PAGE, False),
        (client_hello("a.example"), fatal_alert(Alert.INTERNAL_ERROR), False),
        (b"\x00\x01 nothing known", b"", True),
    ],
)
def test_an_app_whose_upstream_fails_is_told_in_its_own_language(sent: bytes, answer: bytes, aborted: bool) -> None:
    rig = Rig('[upstreams]\nu = "http://192.0.2.1:1"\n[[rule]]\naction = "upstream"\nupstream = "u"', connects=False)
    rig.app_sends(sent)
    rig.event(ConnectFailed("upstream u: http://192.0.2.1:1: forbidden (HTTP 403)"))

    assert (rig.take(APP), rig.aborted, rig.closed) == (answer, aborted, not aborted)
    assert rig.record.error == "dial: upstream u: http://192.0.2.1:1: forbidden (HTTP 403)"
    assert rig.record.upstream == "u"


def test_an_upstream_that_never_answers_is_given_up() -> None:
    rig = Rig(UPSTREAM, connects=False)
    rig.app_sends(GET)
    rig.advance(21.1)

    assert rig.take(APP) == GATEWAY_PAGE
    assert rig.record.error == "dial: no answer within 20 s"


def test_the_record_names_the_proxies_that_were_gone_through() -> None:
    rig = Rig(UPSTREAM, connects=False)
    rig.app_sends(GET)
    rig.event(Connected("socks5://192.0.2.1:1080"))
    rig.origin_sends(b"HTTP/1.1 204 No Content\r\n\r\n")
    rig.ends(APP)
    rig.ends(ORIGIN)

    assert rig.record.upstream == "u (socks5://192.0.2.1:1080)"


@pytest.mark.parametrize(
    ("rule", "sent", "decision"),
    [
        ('protocol = "http"', GET, "relay"),
        ('protocol = "tls"', GET, "direct"),
        ('protocol = "tls"', client_hello("a.example"), "relay"),
        ('method = "GET"\npath = "/*"', GET, "relay"),
        ('method = "POST"', GET, "direct"),
        ('path = "/other"', GET, "direct"),
        ('protocol = "http"', b"\x00\x01 nothing known", "direct"),
        ('parent = "sh"', GET, "direct"),
    ],
)
def test_rules_see_what_the_first_bytes_were(rule: str, sent: bytes, decision: str) -> None:
    rig = Rig(f'default = "direct"\n[[rule]]\n{rule}\naction = "relay"')
    rig.app_sends(sent)
    rig.ends(APP)
    rig.ends(ORIGIN)

    assert rig.record.decision == decision
