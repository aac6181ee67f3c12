"""Peers that stop, vanish or lie at any moment: the connection ends in time, says so once, and keeps nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.engine.events import Ended, Lost, Received, Side
from pointsman.engine.interception import HANDSHAKE_TIMEOUT
from pointsman.engine.peek import CERTAIN_TIMEOUT, PEEK_LIMIT
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd

NAME = "www.example.com"
GET = b"GET /x HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = 700.0  # seconds: more than any timeout of the engine
STEPS = 9


def talk(rig: Rig, steps: int) -> None:
    """A conversation of TLS and HTTP, as far as `steps` turns go."""
    app = TlsEnd(rig, APP, authority.client_context(trusts=authority.root("proxy")), NAME)
    origin = TlsEnd(rig, ORIGIN, authority.server_context(NAME))
    sent = answered = False
    for turn in range(steps):
        if rig.over:
            return
        (app if turn % 2 == 0 else origin).turn()
        if app.established and not sent:
            sent = True
            app.send(GET)
        if origin.received and not answered:
            answered = True
            origin.send(OK)


def wait_until_over(rig: Rig) -> None:
    """Let its timers ring, for LONG at most."""
    until = rig.now + LONG
    while not rig.over and rig.connection.deadline <= until:
        rig.advance(rig.connection.deadline - rig.now)


ENDINGS: dict[str, Callable[[Side], Ended | Lost]] = {"fin": Ended, "rst": lambda side: Lost(side, "reset")}


@pytest.mark.parametrize("policy", ['default = "inspect"', 'default = "intercept"'])
@pytest.mark.parametrize("ending", sorted(ENDINGS))
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("steps", range(STEPS))
def test_an_end_at_any_moment_ends_the_connection_with_a_record(
    steps: int, side: Side, ending: str, policy: str
) -> None:
    rig = Rig(policy)
    talk(rig, steps)
    if not rig.over:
        rig.event(ENDINGS[ending](side))
    wait_until_over(rig)

    assert rig.over
    assert len(rig.records) >= 1
    assert ending == "fin" or rig.aborted


@settings(max_examples=60, deadline=None)
@given(st.integers(0, STEPS), st.sampled_from(Side), st.binary(min_size=1, max_size=60), st.booleans())
def test_bytes_that_are_no_tls_at_any_moment_end_it_too(steps: int, side: Side, junk: bytes, intercepted: bool) -> None:
    rig = Rig('default = "intercept"' if intercepted else 'default = "inspect"')
    talk(rig, steps)
    if not rig.over:
        rig.event(Received(side, junk))
    wait_until_over(rig)

    assert rig.over and len(rig.records) >= 1


def test_who_dribbles_a_hello_is_cut_off_in_time() -> None:
    hello = authority.client_hello(NAME)
    rig = Rig('default = "inspect"\n[[rule]]\naction = "block"\nhost = ["blocked.example"]\n')
    for byte in hello[:-1]:
        rig.app_sends(bytes([byte]))
        rig.advance(CERTAIN_TIMEOUT / len(hello) * 1.01)

    assert rig.dials == 1, "given up and relayed undecided, since only a whole hello could be inspected"
    assert rig.connection.closing or len(rig.received[ORIGIN]) > 0


def test_who_dribbles_a_request_head_is_relayed_after_the_timeout_and_not_held_for_ever() -> None:
    rig = Rig(destination=("192.0.2.1", 80))
    rig.app_sends(b"GET / HTTP/1.1\r\nHost: a\r\n")
    rig.advance(CERTAIN_TIMEOUT + 1)

    assert bytes(rig.received[ORIGIN]).startswith(b"GET /")


def test_a_head_of_a_megabyte_is_not_held() -> None:
    rig = Rig(destination=("192.0.2.1", 80))
    sent = 0
    line = b"X-A: " + b"a" * 1000 + b"\r\n"
    rig.app_sends(b"GET / HTTP/1.1\r\nHost: a\r\n")
    while sent < 1024 * 1024:
        rig.app_sends(line)
        sent += len(line)
        held = sent - len(rig.received[ORIGIN])
        assert held <= PEEK_LIMIT + 2 * len(line)


def test_an_app_that_never_finishes_its_handshake_is_cut_off() -> None:
    rig = Rig()
    talk(rig, 2)
    rig.advance(HANDSHAKE_TIMEOUT + 1)

    assert rig.over
    assert rig.record.error is not None and "not finished within" in rig.record.error
