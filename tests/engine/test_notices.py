"""What is told of a connection as such: its dial, its handshakes, its end; and what a listener may decide about it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from pointsman.engine.events import Connected, ConnectFailed, Lost
from pointsman.engine.messages import ConnectionNotice, HttpFlow, Subject
from pointsman.engine.peek import PEEK_TIMEOUT
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd, pump

NAME = "www.example.com"
POLICY = 'default = "intercept"'
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
CONNECTION = frozenset(
    (
        "client_connected", "client_disconnected", "server_connect", "server_connected", "server_disconnected",
        "server_connect_error", "tls_clienthello", "tls_established_client", "tls_established_server",
        "tls_failed_client", "tls_failed_server",
    )
)  # fmt: skip
ASKED = frozenset(("server_connect",))


class Listener:
    def __init__(self, change: Callable[[ConnectionNotice], object] | None = None) -> None:
        self.heard: list[str] = []
        self.notices: dict[str, ConnectionNotice] = {}
        self.flow: HttpFlow | None = None
        self._change = change

    def __call__(self, hook: str, subject: Subject) -> None:
        self.heard.append(hook)
        if isinstance(subject, HttpFlow):
            self.flow = subject
            return
        assert isinstance(subject, ConnectionNotice)
        self.notices[hook] = subject
        if hook == "server_connect" and self._change is not None:
            self._change(subject)


def ends(rig: Rig, *, trusts: str = "proxy", origin: str = NAME) -> tuple[TlsEnd, TlsEnd]:
    app = TlsEnd(rig, APP, authority.client_context(trusts=authority.root(trusts)), NAME)
    return app, TlsEnd(rig, ORIGIN, authority.server_context(origin))


def test_the_whole_life_of_a_tls_connection_in_its_order_and_with_its_times() -> None:
    listener = Listener()
    rig = Rig(POLICY, hooks=CONNECTION | {"request"}, listener=listener)
    app, origin = ends(rig)
    pump(app, origin)
    app.send(GET)
    pump(app, origin)
    rig.event(Lost(APP, "reset"))
    assert listener.heard == [
        "client_connected", "tls_clienthello", "server_connect", "server_connected", "tls_established_server",
        "tls_established_client", "request", "server_disconnected", "client_disconnected",
    ]  # fmt: skip
    assert listener.flow is not None
    client, server = listener.flow.client_conn, listener.flow.server_conn
    assert client is listener.notices["client_connected"].client and server is listener.notices["server_connect"].server
    assert (client.tls_version, client.sni, client.tls_established) == ("TLSv1.3", NAME, True)
    assert server.cipher is not None and server.address == ("192.0.2.1", 443)
    assert server.timestamp_start is not None and server.timestamp_tcp_setup is not None
    assert server.timestamp_tls_setup is not None and client.timestamp_tls_setup is not None
    times = (server.timestamp_start, server.timestamp_tcp_setup, server.timestamp_tls_setup, client.timestamp_tls_setup)
    assert times == tuple(sorted(times))
    assert not client.connected and not server.connected
    assert listener.notices["tls_established_client"].conn is client
    (certificate,) = server.certificate_list
    assert client.certificate_list == [] and certificate.altnames == [NAME] and not certificate.has_expired()
    assert ("O", "Pointsman") in certificate.issuer and certificate.notbefore < certificate.notafter
    assert certificate.to_pem().startswith(b"-----BEGIN CERTIFICATE-----") and len(certificate.fingerprint()) == 32
    assert certificate.serial > 0 and NAME in repr(certificate)
    assert listener.notices["tls_established_server"].conn is server


def test_an_app_that_refuses_our_certificate_is_told_of_as_such() -> None:
    listener = Listener()
    rig = Rig(POLICY, hooks=CONNECTION, listener=listener)
    pump(*ends(rig, trusts="another"))
    assert "tls_failed_client" in listener.heard and "tls_established_client" not in listener.heard
    assert listener.heard.count("tls_failed_client") == 1 and "tls_failed_server" not in listener.heard
    failed = listener.notices["tls_failed_client"]
    assert failed.conn is failed.context.client and "refused our certificate" in (failed.conn.error or "")
    assert failed.context.server.address == ("192.0.2.1", 443)


def test_an_app_that_goes_away_during_its_handshake_has_failed_it() -> None:
    listener = Listener()
    rig = Rig(POLICY, hooks=CONNECTION, listener=listener)
    app, origin = ends(rig)
    app.turn()
    for _ in range(3):
        origin.turn()
    assert "tls_established_server" in listener.heard
    rig.event(Lost(APP, "reset"))
    assert listener.heard[-3:] == ["tls_failed_client", "server_disconnected", "client_disconnected"]


@pytest.mark.parametrize("page", [False, True])
def test_an_origin_with_a_certificate_that_is_not_valid_has_failed_its_handshake(page: bool) -> None:
    policy = POLICY + (f'\n[[rule]]\nhost = "{NAME}"\naction = "intercept"\non_invalid = "page"\n' if page else "")
    listener = Listener()
    rig = Rig(policy, hooks=CONNECTION, listener=listener)
    app, origin = ends(rig, origin="other.example")
    pump(app, origin)
    assert listener.heard.count("tls_failed_server") == 1 and "tls_failed_client" not in listener.heard
    assert "certificate not valid" in (listener.notices["tls_failed_server"].conn.error or "")


@pytest.mark.parametrize("speaks", [True, False], ids=["app first", "origin first"])
def test_whoever_is_asked_about_the_dial_is_asked_before_it(speaks: bool) -> None:
    rig = Rig(POLICY, destination=("192.0.2.1", 80), hooks=ASKED)
    assert rig.dials == 0
    if speaks:
        rig.app_sends(GET)
    else:
        rig.advance(PEEK_TIMEOUT)
    assert rig.dials == 0 and [one.hook for one in rig.consults] == ["server_connect"]
    rig.advance(5.0)
    rig.answer()
    assert rig.dials == 1 and rig.destinations == [None]
    if not speaks:
        rig.app_sends(GET)
    assert rig.take(ORIGIN) == GET and not rig.consults, "asked once"


def test_what_is_not_intercepted_is_dialled_without_a_question() -> None:
    policy = 'default = "inspect"\n[[rule]]\nhost = "b.example"\naction = "intercept"\n'
    rig = Rig(policy, destination=("192.0.2.1", 80), hooks=ASKED)
    assert rig.dials == 0, "it may still be"
    rig.app_sends(GET)
    assert rig.dials == 1 and not rig.consults


def test_a_listener_sends_the_connection_to_another_address() -> None:
    def elsewhere(notice: ConnectionNotice) -> None:
        notice.server.address = ("198.51.100.7", 8080)

    rig = Rig(POLICY, destination=("192.0.2.1", 80), hooks=ASKED, listener=Listener(elsewhere))
    rig.app_sends(GET)
    assert rig.destinations == [(ip_address("198.51.100.7"), 8080)] and rig.take(ORIGIN) == GET


@pytest.mark.parametrize("how", ["error", "kill", "no address"])
def test_a_listener_forbids_the_dial(how: str) -> None:
    def forbid(notice: ConnectionNotice) -> None:
        if how == "error":
            notice.server.error = "not today"
        elif how == "kill":
            notice.kill()
        else:
            notice.server.address = ("no address", 80)

    listener = Listener(forbid)
    rig = Rig(POLICY, destination=("192.0.2.1", 80), hooks=CONNECTION, listener=listener)
    rig.app_sends(GET)
    assert rig.dials == 0 and rig.aborted
    assert rig.record.error is not None and ("not today" in rig.record.error) == (how == "error")
    assert "server_disconnected" not in listener.heard and listener.heard[-1] == "client_disconnected"


def test_a_dial_that_fails_is_told() -> None:
    listener = Listener()
    rig = Rig(POLICY, destination=("192.0.2.1", 80), hooks=CONNECTION, listener=listener, connects=False)
    rig.app_sends(GET)
    rig.event(ConnectFailed("connection refused"))
    assert listener.heard[-2:] == ["server_connect_error", "client_disconnected"]
    assert listener.notices["server_connect_error"].server.error == "dial: connection refused"


def test_an_app_that_ends_while_a_listener_thinks_leaves_nothing_behind() -> None:
    rig = Rig(POLICY, destination=("192.0.2.1", 80), hooks=ASKED, connects=False)
    rig.app_sends(GET)
    rig.event(Lost(APP, "reset"))
    assert rig.aborted
    rig.answer()
    assert rig.dials == 0


def test_the_answer_about_the_hello_and_the_one_about_the_dial_come_in_any_order() -> None:
    for first in (0, 1):
        rig = Rig(POLICY, hooks=frozenset(("tls_clienthello", "server_connect")), connects=False)
        rig.app_sends(authority.client_hello(NAME))
        assert sorted(one.hook for one in rig.consults) == ["server_connect", "tls_clienthello"]
        if first:
            rig.consults.reverse()
        rig.answer()
        rig.answer()
        rig.event(Connected())
        assert rig.take(ORIGIN), "its hello"


def test_what_turns_out_not_to_be_intercepted_while_a_listener_thinks_is_told_of_no_more() -> None:
    policy = POLICY + '\n[[rule]]\nhost = "a.example"\naction = "inspect"\n'
    rig = Rig(policy, destination=("192.0.2.1", 80), hooks=CONNECTION)
    rig.advance(PEEK_TIMEOUT)
    assert [one.hook for one in rig.consults] == ["server_connect"]
    rig.app_sends(GET)
    rig.answer()
    assert rig.dials == 1 and rig.take(ORIGIN) == GET
    rig.event(Lost(APP, "reset"))
    assert rig.consults == [] and rig.record.decision == "inspect"
