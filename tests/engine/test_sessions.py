"""The second handshake with an origin is a short one."""

from __future__ import annotations

import ssl

import pytest

from pointsman.engine.sessions import CAPACITY, LIFETIME, Sessions
from pointsman.engine.tls import CertificateFacts, TlsSide
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd, pump

NAME = "www.example.com"


def server(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = authority.server_context(NAME)
    context.maximum_version = version
    context.num_tickets = 2
    return context


def visit(sessions: Sessions, client: ssl.SSLContext, context: ssl.SSLContext, name: str = NAME) -> tuple[TlsEnd, Rig]:
    rig = Rig(sessions=sessions, upstream_tls=lambda _: client)
    app = TlsEnd(rig, APP, authority.client_context(trusts=authority.root("proxy")), name)
    origin = TlsEnd(rig, ORIGIN, context)
    pump(app, origin)
    app.send(b"x")
    pump(app, origin)
    origin.send(b"y")
    pump(app, origin)
    assert bytes(app.received) == b"y"
    return origin, rig


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_second_visit_resumes_and_the_leaf_has_the_same_names(version: ssl.TLSVersion) -> None:
    sessions, client, context = Sessions(), authority.client_context(), server(version)
    first, first_rig = visit(sessions, client, context)
    second, second_rig = visit(sessions, client, context)
    third, _ = visit(sessions, client, context)

    assert [bool(end.tls.session_reused) for end in (first, second, third)] == [False, True, True]
    assert first_rig.minted[0].names == second_rig.minted[0].names


def test_a_server_that_forgot_gets_a_full_handshake() -> None:
    sessions, client = Sessions(), authority.client_context()
    visit(sessions, client, server(ssl.TLSVersion.TLSv1_3))
    other = server(ssl.TLSVersion.TLSv1_3)
    again, _ = visit(sessions, client, other)
    third, _ = visit(sessions, client, other)

    assert not again.tls.session_reused
    assert third.tls.session_reused


def test_a_server_that_gives_sessions_and_takes_none_is_left_alone() -> None:
    """Fetching one and offering it costs half a handshake."""
    sessions, client = Sessions(), authority.client_context()
    for _ in range(3):
        visit(sessions, client, server(ssl.TLSVersion.TLSv1_3))

    assert sessions.find((NAME, 443), client, 1000.0) is None
    assert not sessions.wants((NAME, 443), client, 1000.0)


def test_connections_side_by_side_are_refused_as_one() -> None:
    """Else each of them would have the next one asked for, and offer that in vain."""
    sessions, client, key = Sessions(), authority.client_context(), (NAME, 443)
    visit(sessions, client, server(ssl.TLSVersion.TLSv1_3))
    first = sessions.find(key, client, 1000.0)
    assert first is not None

    asks_anew = [sessions.refused(key, client, first, 1000.0) for _ in range(3)]
    visit(sessions, client, server(ssl.TLSVersion.TLSv1_3))
    second = sessions.find(key, client, 1000.0)

    assert asks_anew == [True] * 3  # nobody has, yet
    assert second is not None and second is not first
    assert sessions.refused(key, client, first, 1000.0) is False, "it is not the first one's fault"
    assert sessions.find(key, client, 1000.0) is second


def test_another_offer_gets_a_full_handshake() -> None:
    """Its context is another one, and OpenSSL would raise."""
    sessions, context = Sessions(), server(ssl.TLSVersion.TLSv1_3)
    visit(sessions, authority.client_context(), context)
    again, _ = visit(sessions, authority.client_context(), context)

    assert not again.tls.session_reused


class Reads:
    """Counts how often a connection is asked for its session: where that leaks, each one is 6 kB."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = TlsSide.session

        def counted(side: TlsSide) -> ssl.SSLSession | None:
            self.count += 1
            return real(side)

        monkeypatch.setattr(TlsSide, "session", counted)


def test_connections_whose_offers_alternate_do_not_push_out_each_others_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sessions, context, reads = Sessions(), server(ssl.TLSVersion.TLSv1_3), Reads(monkeypatch)
    offers = [authority.client_context(), authority.client_context()]
    ends = [visit(sessions, offers[number % 2], context)[0] for number in range(6)]

    assert [bool(end.tls.session_reused) for end in ends] == [False, False, True, True, True, True]
    assert reads.count == 2


def test_connections_side_by_side_ask_a_server_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, client, reads = Sessions(), authority.client_context(), Reads(monkeypatch)
    pairs: list[tuple[TlsEnd, TlsEnd]] = []
    for _ in range(3):
        rig = Rig(sessions=sessions, upstream_tls=lambda _: client)
        app = TlsEnd(rig, APP, authority.client_context(trusts=authority.root("proxy")), NAME)
        origin = TlsEnd(rig, ORIGIN, server(ssl.TLSVersion.TLSv1_3))
        pump(app, origin)
        pairs.append((app, origin))
    for app, origin in pairs:
        app.send(b"x")
        pump(app, origin)
        origin.send(b"y")
        pump(app, origin)

    assert reads.count == 1


def test_sessions_are_read_so_often_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each read leaks, memory must be flat all the same."""
    sessions, client, reads = Sessions(reads_limit=3), authority.client_context(), Reads(monkeypatch)
    for number in range(6):
        name = f"h{number}.example.com"
        context = authority.server_context(name)
        context.num_tickets = 2
        for _ in range(2):
            visit(sessions, client, context, name)

    assert reads.count == 3
    assert len(sessions) == 3
    assert sessions.find(("h2.example.com", 443), client, 1000.0) is not None
    assert not sessions.wants(("h9.example.com", 443), client, 1000.0)


def session() -> tuple[ssl.SSLContext, ssl.SSLSession]:
    sessions, client = Sessions(), authority.client_context()
    visit(sessions, client, server(ssl.TLSVersion.TLSv1_3))
    found = sessions.find((NAME, 443), client, 1000.0)
    assert found is not None
    return client, found


def test_a_session_is_for_its_port_and_not_for_long() -> None:
    client, found = session()
    sessions = Sessions()
    sessions.keep((NAME, 443), client, lambda: found, 0.0)

    assert sessions.find((NAME, 443), client, 1.0) is found
    assert sessions.find((NAME, 8443), client, 1.0) is None
    assert sessions.find((NAME, 443), client, LIFETIME) is None
    assert sessions.wants((NAME, 443), client, LIFETIME)


def test_a_server_that_gives_no_session_is_not_asked_again_and_again() -> None:
    client, _ = session()
    sessions = Sessions()
    assert sessions.wants((NAME, 443), client, 0.0)
    sessions.keep((NAME, 443), client, lambda: None, 0.0)

    assert not sessions.wants((NAME, 443), client, 1.0)
    assert sessions.find((NAME, 443), client, 1.0) is None


def test_the_cache_is_bounded() -> None:
    client, found = session()
    sessions = Sessions()
    for number in range(CAPACITY + 3):
        sessions.keep((f"h{number}", 443), client, lambda: found, 0.0)

    assert len(sessions) == CAPACITY
    assert sessions.find(("h2", 443), client, 0.0) is None


def test_the_facts_of_a_certificate_are_read_once_and_bounded() -> None:
    sessions, asked = Sessions(), []

    def facts(number: int) -> CertificateFacts:
        def read() -> CertificateFacts:
            asked.append(number)
            return CertificateFacts((f"h{number}",))

        return sessions.facts(b"certificate %d" % number, read)

    for number in (*range(CAPACITY), 0, CAPACITY - 1):
        assert facts(number).names == (f"h{number}",)
    assert len(asked) == CAPACITY
    facts(CAPACITY)
    facts(0)
    assert asked[CAPACITY:] == [CAPACITY, 0], "one more than there is room for: all of them are forgotten"
