"""TLS in the middle: a real TLS client and a real TLS server, joined in memory by the engine."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.engine.events import LeafFailed, Stopping
from pointsman.engine.interception import HANDSHAKE_TIMEOUT
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd, pump
from pointsman.wire.client_hello import host_name

NAME = "www.example.com"
GET = b"GET /x HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def app_context(*alpn: str, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = authority.client_context(*alpn, trusts=authority.root("proxy"))
    if version is not None:
        context.maximum_version = version
    return context


def join(
    rig: Rig, *, client: ssl.SSLContext | None = None, server: ssl.SSLContext | None = None, name: str | None = NAME
) -> tuple[TlsEnd, TlsEnd]:
    app = TlsEnd(rig, APP, client or app_context(), name)
    origin = TlsEnd(rig, ORIGIN, server or authority.server_context(NAME, "*.example.net", "192.0.2.1"))
    pump(app, origin)
    return app, origin


@pytest.mark.parametrize("app_version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("origin_version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_passes_is_seen_and_arrives(app_version: ssl.TLSVersion, origin_version: ssl.TLSVersion) -> None:
    rig = Rig()
    server = authority.server_context(NAME)
    server.maximum_version = origin_version
    app, origin = join(rig, client=app_context(version=app_version), server=server)
    app.send(GET)
    pump(app, origin)
    origin.send(OK)
    pump(app, origin)

    assert (bytes(origin.received), bytes(app.received)) == (GET, OK)
    record = rig.record
    assert (record.protocol, record.host) == ("https", NAME)
    assert (record.method, record.path, record.status) == ("GET", "/x", 200)
    assert (record.bytes_up, record.bytes_down, record.decision) == (len(GET), len(OK), "inspect")


def test_the_leaf_mirrors_the_names_of_the_origin_and_the_one_asked_for() -> None:
    rig = Rig()
    app, _ = join(rig)

    certificate = app.tls.getpeercert() or {}
    assert certificate["subjectAltName"] == (("DNS", NAME), ("DNS", "*.example.net"), ("IP Address", "192.0.2.1"))
    assert rig.minted[0].names == (NAME, "*.example.net", "192.0.2.1")


def test_an_app_that_names_nobody_gets_a_leaf_for_the_address_it_dialled() -> None:
    rig = Rig(destination=("192.0.2.1", 443))
    client = app_context()
    client.check_hostname = False
    app, origin = join(rig, client=client, name=None)
    app.send(b"hello")
    pump(app, origin)

    assert rig.minted[0].names[0] == "192.0.2.1"
    assert bytes(origin.received) == b"hello"


def test_the_name_the_app_asked_for_is_asked_for_upstream() -> None:
    rig = Rig()
    server = authority.server_context(NAME)
    asked: list[str | None] = []
    server.sni_callback = lambda _, name, __: asked.append(name)
    join(rig, server=server)

    assert asked == [NAME]


@pytest.mark.parametrize(
    ("offered", "served", "agreed"),
    [
        (("h2", "http/1.1"), "http/1.1", "http/1.1"),
        (("h2", "http/1.1"), "h2", "h2"),
        (("http/1.1", "h2"), "h2", "h2"),
        (("h2", "http/1.1"), None, None),
        (("h2",), "h2", "h2"),
        (("http/1.1",), "h2", None),
        (("http/1.1",), None, None),
        ((), "http/1.1", None),
    ],
)
def test_both_sides_agree_on_the_same_protocol(
    offered: tuple[str, ...], served: str | None, agreed: str | None
) -> None:
    rig = Rig()
    app, origin = join(rig, client=app_context(*offered), server=authority.server_context(NAME, alpn=served))

    assert app.established and origin.established
    assert app.tls.selected_alpn_protocol() == agreed
    assert origin.tls.selected_alpn_protocol() == agreed


def test_an_app_that_speaks_no_http_is_relayed_undecrypted_with_a_note() -> None:
    rig = Rig()
    app, origin = join(
        rig,
        client=authority.client_context("dot", trusts=authority.root()),
        server=authority.server_context(NAME, alpn="dot"),
    )

    assert app.established and app.tls.selected_alpn_protocol() == "dot"
    assert rig.minted == []
    for end in (app, origin):
        end.close_notify()
    pump(app, origin)
    rig.ends(APP)
    rig.ends(ORIGIN)
    assert rig.record.note == "not decrypted: the app offers only dot"
    assert (rig.record.protocol, rig.record.host) == ("tls", NAME)


@pytest.mark.parametrize(
    ("server", "reason", "error"),
    [
        (authority.server_context(NAME, signed_by=authority.root("unknown")), "TLSV1_ALERT_UNKNOWN_CA",
         "TLS upstream: certificate not valid: unable to get local issuer certificate"),
        (authority.server_context(NAME, days_ago=60), "SSLV3_ALERT_CERTIFICATE_EXPIRED",
         "TLS upstream: certificate not valid: certificate has expired"),
        (authority.server_context("other.example"), "SSLV3_ALERT_BAD_CERTIFICATE",
         "TLS upstream: certificate not valid: Hostname mismatch, certificate is not valid for 'www.example.com'."),
    ],
)  # fmt: skip
def test_an_origin_that_cannot_prove_itself_becomes_an_honest_alert(
    server: ssl.SSLContext, reason: str, error: str
) -> None:
    rig = Rig()
    app, origin = join(rig, server=server)

    assert app.error is not None and app.error.reason == reason
    assert origin.error is not None and origin.error.reason == reason
    assert rig.closed
    assert rig.minted == []
    assert rig.record.error == error
    assert (rig.record.host, rig.record.protocol, rig.record.decision) == (NAME, "tls", "inspect")


def test_an_origin_that_speaks_no_tls_becomes_a_handshake_failure() -> None:
    rig = Rig()
    app = TlsEnd(rig, APP, app_context(), NAME)
    pump(app)
    rig.origin_sends(b"220 this is not TLS\r\n")
    pump(app)

    assert app.error is not None and app.error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert rig.record.error == "TLS upstream: wrong version number"


def test_an_origin_that_refuses_our_hello_becomes_a_handshake_failure() -> None:
    rig = Rig()
    server = authority.server_context(NAME)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # no use with a P-256 key
    app, _ = join(rig, server=server)

    assert app.error is not None and app.error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert rig.record.error == "TLS upstream: the peer sent the alert handshake_failure"


def test_an_origin_that_closes_in_the_handshake_becomes_a_handshake_failure() -> None:
    rig = Rig()
    app = TlsEnd(rig, APP, app_context(), NAME)
    pump(app)
    rig.ends(ORIGIN)
    pump(app)

    assert app.error is not None and app.error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert rig.record.error == "the origin closed during the TLS handshake"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_app_that_refuses_our_leaf_is_recorded_with_its_alert(version: ssl.TLSVersion) -> None:
    rig = Rig()
    client = authority.client_context(trusts=authority.root("somebody else"))
    client.maximum_version = version
    app, _ = join(rig, client=client)

    assert app.error is not None
    assert rig.closed
    assert rig.record.error == "the app refused our certificate (alert unknown_ca)"


def test_an_app_that_leaves_in_the_handshake_is_recorded() -> None:
    rig = Rig()
    rig.mints_at_once = False
    join(rig)
    rig.ends(APP)

    assert rig.closed
    assert rig.record.error == "the app closed during the TLS handshake"


def test_without_a_leaf_the_app_gets_an_alert() -> None:
    rig = Rig()
    rig.mints_at_once = False
    app, _ = join(rig)
    rig.event(LeafFailed("no room"))
    pump(app)

    assert app.error is not None and app.error.reason == "TLSV1_ALERT_INTERNAL_ERROR"
    assert rig.record.error == "no certificate for www.example.com: no room"


def test_an_origin_that_speaks_before_the_app_has_its_leaf_is_paused_and_heard() -> None:
    rig = Rig()
    rig.mints_at_once = False
    app, origin = join(rig)
    assert rig.paused == {ORIGIN}
    origin.send(b"220 smtps\r\n")
    origin.close_notify()
    pump(app, origin)
    rig.ends(ORIGIN)

    rig.mint()
    pump(app, origin)

    assert rig.paused == set()
    assert bytes(app.received) == b"220 smtps\r\n"
    assert app.saw_close_notify
    assert rig.ended == {APP}


def test_a_handshake_that_takes_too_long_is_given_up() -> None:
    rig = Rig()
    app = TlsEnd(rig, APP, app_context(), NAME)
    pump(app)
    rig.advance(HANDSHAKE_TIMEOUT)
    pump(app)

    assert rig.closed
    assert app.error is not None and app.error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert rig.record.error == "TLS handshake upstream not finished within 15 s"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_close_notify_travels_and_the_other_direction_goes_on(version: ssl.TLSVersion) -> None:
    rig = Rig()
    app, origin = join(rig, client=app_context(version=version))
    app.send(b"question")
    app.close_notify()
    pump(app, origin)
    assert origin.saw_close_notify
    assert bytes(origin.received) == b"question"

    origin.send(b"answer")
    origin.close_notify()
    pump(app, origin)
    rig.ends(ORIGIN)
    rig.ends(APP)

    assert bytes(app.received) == b"answer"
    assert app.saw_close_notify
    assert rig.closed
    assert (rig.record.protocol, rig.record.bytes_up, rig.record.bytes_down) == ("tls", 8, 6)
    assert rig.record.error is None


def test_a_stream_that_was_cut_off_is_passed_on_as_cut_off() -> None:
    rig = Rig()
    app, origin = join(rig)
    app.send(GET)
    origin.send(OK[:-1])
    pump(app, origin)
    rig.ends(ORIGIN)
    pump(app, origin)

    assert rig.ended == {APP}
    assert not app.saw_close_notify
    assert rig.record.error == "the response was cut short"


def test_damaged_records_end_the_connection_with_an_alert_to_who_sent_them() -> None:
    rig = Rig()
    app, origin = join(rig)
    rig.origin_sends(b"\x17\x03\x03\x00\x20" + bytes(32))
    pump(app, origin)

    assert rig.closed
    assert rig.record.error is not None and rig.record.error.startswith("TLS upstream: ")
    assert origin.error is not None and origin.error.reason == "SSLV3_ALERT_BAD_RECORD_MAC"


def test_ten_megabytes_each_way_arrive_as_they_were() -> None:
    rig = Rig()
    app, origin = join(rig)
    up, down = bytes(range(256)) * 4096 * 10, bytes(reversed(range(256))) * 4096 * 10
    for at in range(0, len(up), 1 << 18):
        app.send(up[at : at + (1 << 18)])
        origin.send(down[at : at + (1 << 18)])
        pump(app, origin)

    assert origin.received == up
    assert app.received == down


@settings(deadline=None, max_examples=60)
@given(st.text("abxn-_.0129", min_size=1, max_size=12) | st.binary(min_size=1, max_size=8).map(str))
def test_whatever_passes_for_a_host_name_can_be_asked_for_and_certified(text: str) -> None:
    name = host_name(text)
    if name is None:
        return
    rig = Rig()
    server = authority.server_context(name, NAME)
    app, origin = join(rig, server=server, name=name)

    assert app.established or app.error is not None
    assert rig.minted or rig.closed
    assert origin.established or origin.error is not None


def test_a_stop_resets_both_sides() -> None:
    rig = Rig()
    join(rig)
    rig.event(Stopping())

    assert rig.aborted
    assert rig.record.error == "the proxy stopped"


def test_events_of_a_stream_without_end_arrive_one_by_one() -> None:
    rig = Rig()
    app, origin = join(rig)
    app.send(GET)
    pump(app, origin)
    origin.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(3):
        event = b"data: %d\n\n" % number
        origin.send(b"%x\r\n%s\r\n" % (len(event), event))
        pump(app, origin)
        assert bytes(app.received).endswith(event + b"\r\n")
        assert rig.records == []
    origin.send(b"0\r\n\r\n")
    pump(app, origin)

    assert (rig.record.status, rig.record.error) == (200, None)
