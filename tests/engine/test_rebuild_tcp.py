"""What listeners hear of an intercepted connection as such, and of what is no HTTP on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pointsman.engine.events import Lost
from pointsman.engine.messages import ConnectionNotice, Subject, TcpMessage
from pointsman.engine.peek import PEEK_TIMEOUT
from pointsman.engine.rebuild import HELD_LIMIT
from pointsman.engine.rebuild_tcp import REMEMBERED, REMEMBERED_BYTES
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd, pump

POLICY = 'default = "intercept"'
TCP = frozenset(("tcp_start", "tcp_message", "tcp_end", "tcp_error"))
CONNECTION = frozenset(("client_connected", "tls_clienthello", "server_connected", "client_disconnected"))
NAME = "www.example.com"


class Listener:
    def __init__(self, change: Callable[[str, Subject], object] | None = None) -> None:
        self.heard: list[str] = []
        self.subjects: list[Subject] = []
        self._change = change

    def __call__(self, hook: str, subject: Subject) -> None:
        self.heard.append(hook)
        self.subjects.append(subject)
        if self._change is not None:
            self._change(hook, subject)


def upper(hook: str, subject: Subject) -> None:
    if isinstance(subject, TcpMessage):
        subject.content = subject.content.upper()


def tls_ends(rig: Rig) -> tuple[TlsEnd, TlsEnd]:
    app = TlsEnd(rig, APP, authority.client_context(trusts=authority.root("proxy")), NAME)
    return app, TlsEnd(rig, ORIGIN, authority.server_context(NAME))


def test_pieces_of_a_stream_in_clear_are_shown_and_changed() -> None:
    listener = Listener(upper)
    rig = Rig(POLICY, hooks=TCP, listener=listener)
    rig.origin_sends(b"220 ready")
    rig.app_sends(b"helo")
    assert (rig.take(APP), rig.take(ORIGIN)) == (b"220 READY", b"HELO")
    rig.ends(APP)
    rig.ends(ORIGIN)
    assert rig.closed
    assert listener.heard == ["tcp_start", "tcp_message", "tcp_message", "tcp_end"]
    assert [one.from_client for one in listener.subjects if isinstance(one, TcpMessage)][1:3] == [False, True]


def test_pieces_inside_tls_are_shown_and_changed() -> None:
    listener = Listener(upper)
    rig = Rig(POLICY, hooks=TCP, listener=listener)
    app, origin = tls_ends(rig)
    pump(app, origin)
    app.send(b"\x00hello")
    pump(app, origin)
    origin.send(b"there")
    pump(app, origin)
    assert (bytes(origin.received), bytes(app.received)) == (b"\x00HELLO", b"THERE")
    rig.event(Lost(ORIGIN, "reset"))
    assert listener.heard[-1] == "tcp_error"


def test_inside_tls_what_may_become_http_waits_a_moment_and_then_goes_on() -> None:
    rig = Rig(POLICY)
    app, origin = tls_ends(rig)
    pump(app, origin)
    app.send(b"PO")
    pump(app, origin)
    assert origin.received == b""
    rig.advance(PEEK_TIMEOUT)
    pump(app, origin)
    assert origin.received == b"PO"


def test_without_a_listener_a_stream_goes_on_at_once_and_its_ends_too() -> None:
    rig = Rig(POLICY)
    app, origin = tls_ends(rig)
    pump(app, origin)
    origin.send(b"first")
    app.send(b"\x01")
    pump(app, origin)
    assert (bytes(origin.received), bytes(app.received)) == (b"\x01", b"first")
    origin.close_notify()
    pump(app, origin)
    assert app.saw_close_notify
    assert ORIGIN not in rig.ended


def test_a_slow_listener_pauses_the_side_that_it_is_asked_about() -> None:
    rig = Rig(POLICY, hooks=frozenset(("tcp_message",)))
    rig.origin_sends(b"x")
    rig.answer()
    rig.app_sends(bytes(HELD_LIMIT))
    rig.ends(APP)
    assert rig.paused == {APP}
    assert ORIGIN not in rig.ended
    rig.answer()
    assert rig.paused == set()
    assert len(rig.take(ORIGIN)) == HELD_LIMIT and ORIGIN in rig.ended


def test_a_killed_stream_is_reset() -> None:
    def kill(hook: str, subject: Subject) -> None:
        if isinstance(subject, TcpMessage):
            subject.killed = True

    rig = Rig(POLICY, hooks=frozenset(("tcp_message",)), listener=Listener(kill))
    rig.origin_sends(b"x")
    assert rig.aborted and rig.take(APP) == b""


def test_the_life_of_a_connection_is_told() -> None:
    listener = Listener()
    rig = Rig(POLICY, hooks=CONNECTION, listener=listener)
    app, origin = tls_ends(rig)
    pump(app, origin)
    rig.event(Lost(ORIGIN, "reset"))

    assert listener.heard == ["client_connected", "tls_clienthello", "server_connected", "client_disconnected"]
    notice = listener.subjects[-1]
    assert isinstance(notice, ConnectionNotice)
    assert (notice.host, notice.decision, notice.error) == (NAME, "intercept", "upstream lost: reset")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_listener_to_the_hello_may_have_the_connection_relayed(at_once: bool) -> None:
    def ignore(hook: str, subject: Subject) -> None:
        if hook == "tls_clienthello":
            assert isinstance(subject, ConnectionNotice)
            subject.ignore = True

    hooks = frozenset(("tls_clienthello",))
    rig = Rig(POLICY, hooks=hooks, listener=Listener(ignore) if at_once else None)
    hello = authority.client_hello(NAME)
    rig.app_sends(hello)
    if not at_once:
        assert rig.take(ORIGIN) == b""
        ignore("tls_clienthello", rig.consults[0].subject)
        rig.answer()
    assert rig.take(ORIGIN) == hello
    rig.ends(APP)
    rig.ends(ORIGIN)
    record = rig.record
    assert record.decision == "relay" and record.note is not None and "tls_clienthello" in record.note


def test_an_origin_that_speaks_while_a_listener_thinks_is_heard_later() -> None:
    rig = Rig(POLICY, hooks=frozenset(("tls_clienthello",)))
    rig.app_sends(authority.client_hello(NAME))
    rig.origin_sends(b"no TLS at all")
    rig.answer()
    assert rig.over and rig.record.error is not None and "TLS upstream" in rig.record.error


def test_nobody_hears_of_what_is_only_inspected() -> None:
    listener = Listener()
    rig = Rig('default = "inspect"', hooks=CONNECTION | TCP, listener=listener)
    rig.origin_sends(b"220 ready")
    rig.app_sends(b"helo")
    assert rig.take(ORIGIN) == b"helo"
    assert listener.heard == []


def test_a_stream_remembers_its_last_pieces_and_no_more() -> None:
    seen: list[list[bytes]] = []

    def look(hook: str, subject: Subject) -> None:
        assert isinstance(subject, TcpMessage)
        seen.append([one.content for one in subject.messages])
        subject.content = subject.content.upper()

    rig = Rig(POLICY, hooks=TCP, listener=Listener(look))
    rig.origin_sends(b"one")
    rig.app_sends(b"two")
    for side in (APP, ORIGIN):
        rig.ends(side)
    assert seen == [[], [b"one"], [b"ONE", b"two"], [b"ONE", b"TWO"]]


@pytest.mark.parametrize("hooks", [TCP, frozenset(("tcp_start", "tcp_end"))])
def test_what_is_remembered_is_bounded_by_number_and_size(hooks: frozenset[str]) -> None:
    for size, expected in ((1, REMEMBERED), (60_000, REMEMBERED_BYTES // 60_000), (REMEMBERED_BYTES + 1, 0)):
        subjects: list[Subject] = []

        def listener(hook: str, subject: Subject, into: list[Subject] = subjects) -> None:
            into.append(subject)

        rig = Rig(POLICY, hooks=hooks, listener=listener)
        for _ in range(REMEMBERED * 2):
            rig.origin_sends(bytes(size))
        for side in (APP, ORIGIN):
            rig.ends(side)
        last = subjects[-1]
        assert isinstance(last, TcpMessage) and len(last.messages) == expected
