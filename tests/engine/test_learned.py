"""An app that refuses our certificate is relayed the next time."""

from __future__ import annotations

import ssl

import pytest

from pointsman.engine.events import Lost
from pointsman.engine.learned import (
    CLOSED,
    CLOSES_NEEDED,
    CLOSES_NEEDED_OF_TRUSTING,
    CLOSES_SPAN,
    ENTRIES_LIMIT,
    LIFETIME,
    TRUST_LASTS,
    Learned,
)
from pointsman.testing import authority
from pointsman.testing.memory import APP, EPOCH, ORIGIN, Rig, TlsEnd, pump

NAME = "www.example.com"


def attempt(learned: Learned, policy: str = 'default = "inspect"', app: str = "/usr/bin/app") -> tuple[Rig, TlsEnd]:
    """An app that trusts the origin's root alone, as one that pins."""
    rig = Rig(policy, app=app, learned=learned)
    client = TlsEnd(rig, APP, authority.client_context(trusts=authority.root()), NAME)
    pump(client, TlsEnd(rig, ORIGIN, authority.server_context(NAME)))
    return rig, client


def test_the_next_attempt_works_and_the_record_says_why() -> None:
    learned = Learned()
    first, refusing = attempt(learned)
    assert not refusing.established
    assert first.record.error == "the app refused our certificate (alert unknown_ca)"

    second, client = attempt(learned)
    assert client.established
    for side in (APP, ORIGIN):
        second.ends(side)
    assert (second.record.decision, second.record.rule) == ("relay", "learned: unknown_ca")
    assert second.record.note is not None
    assert second.record.note.startswith("not decrypted until 2023-11-15")


def test_other_apps_and_other_hosts_are_inspected_as_before() -> None:
    learned = Learned()
    attempt(learned)

    rig, _ = attempt(learned, app="/usr/bin/other")
    assert rig.record.decision == "inspect"
    assert learned.find("/usr/bin/app", "other.example", EPOCH) is None


def test_a_block_stays_a_block() -> None:
    learned = Learned()
    attempt(learned)
    rig, client = attempt(learned, f'default = "inspect"\n[[rule]]\naction = "block"\nhost = ["{NAME}"]\n')

    assert not client.established and rig.aborted
    assert rig.record.decision == "block"


@pytest.mark.parametrize("reset", [False, True])
def test_an_app_that_just_closes_upon_our_certificate_is_believed_the_second_time(reset: bool) -> None:
    learned = Learned()
    for expected in (0, 1):
        rig = Rig(learned=learned)
        context = authority.client_context(trusts=authority.root("proxy"))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        client = TlsEnd(rig, APP, context, NAME)
        origin = TlsEnd(rig, ORIGIN, authority.server_context(NAME))
        client.turn()
        while not rig.minted:
            origin.turn()
        assert rig.received[APP], "our certificate is on its way"
        if reset:
            rig.event(Lost(APP, "reset"))
        else:
            rig.ends(APP)
        assert len(learned.entries()) == expected
    assert learned.entries()[0].reason == CLOSED


def test_a_fault_of_the_origin_teaches_nothing() -> None:
    learned = Learned()
    rig = Rig(learned=learned)
    client = TlsEnd(rig, APP, authority.client_context(trusts=authority.root("proxy")), NAME)
    pump(client, TlsEnd(rig, ORIGIN, authority.server_context(NAME, signed_by=authority.root("unknown"))))

    assert rig.closed and learned.entries() == []


def test_an_entry_expires() -> None:
    learned = Learned()
    assert learned.refused("/app", NAME, "unknown_ca", 1000.0)

    assert learned.find("/APP", NAME.upper(), 1000.0 + LIFETIME - 1) is not None
    assert learned.find("/app", NAME, 1000.0 + LIFETIME) is None
    assert learned.entries() == []


def test_alerts_that_say_nothing_about_certificates_teach_nothing() -> None:
    assert not Learned().refused("/app", NAME, "protocol_version", 0.0)


def test_the_table_is_bounded() -> None:
    learned = Learned()
    for number in range(ENTRIES_LIMIT + 5):
        learned.refused("/app", f"h{number}.example", "unknown_ca", 0.0)
        learned.refused("/app", f"c{number}.example", CLOSED, 0.0)

    assert len(learned.entries()) == ENTRIES_LIMIT
    assert learned.find("/app", "h4.example", 0.0) is None
    assert learned.find("/app", "h5.example", 0.0) is not None


def close_upon_our_certificate(learned: Learned) -> None:
    rig = Rig(learned=learned)
    client = TlsEnd(rig, APP, authority.client_context(trusts=authority.root("proxy")), NAME)
    origin = TlsEnd(rig, ORIGIN, authority.server_context(NAME))
    client.turn()
    while not rig.minted:
        origin.turn()
    assert rig.received[APP], "our certificate is on its way"
    rig.ends(APP)


def complete_a_handshake(learned: Learned, name: str = NAME) -> None:
    rig = Rig(learned=learned)
    client = TlsEnd(rig, APP, authority.client_context(trusts=authority.root("proxy")), name)
    pump(client, TlsEnd(rig, ORIGIN, authority.server_context(name)))
    assert client.established


def test_a_client_that_drops_connections_it_opened_in_advance_stays_decrypted() -> None:
    learned = Learned()
    close_upon_our_certificate(learned)
    complete_a_handshake(learned)
    for _ in range(3 * CLOSES_NEEDED_OF_TRUSTING):
        close_upon_our_certificate(learned)

    assert learned.entries() == []


def test_an_app_that_trusts_our_root_elsewhere_needs_to_close_more_often() -> None:
    learned = Learned()
    complete_a_handshake(learned, "other.example.com")
    for expected in (*[0] * (CLOSES_NEEDED_OF_TRUSTING - 1), 1):
        close_upon_our_certificate(learned)
        assert len(learned.entries()) == expected


def test_a_completed_handshake_forgets_the_closes_before_it() -> None:
    learned = Learned()
    assert not learned.refused("/app", NAME, CLOSED, 0.0)
    learned.accepted("/app", NAME, 1.0)
    later = 1.0 + TRUST_LASTS
    assert not learned.refused("/app", NAME, CLOSED, later)
    assert learned.refused("/app", NAME, CLOSED, later + 1)


def test_closes_count_within_a_minute_only() -> None:
    learned = Learned()
    assert not learned.refused("/app", NAME, CLOSED, 0.0)
    assert not learned.refused("/app", NAME, CLOSED, CLOSES_SPAN + 1)
    assert learned.refused("/app", NAME, CLOSED, 2 * CLOSES_SPAN + 1)


def test_connections_that_were_open_at_the_same_time_are_one_attempt() -> None:
    learned = Learned()
    for number in range(3 * CLOSES_NEEDED):
        assert not learned.refused("/app", NAME, CLOSED, 10.0 + number / 10, lasted=5.0)
    assert learned.refused("/app", NAME, CLOSED, 20.0, lasted=1.0)


def test_what_is_known_of_trusting_apps_is_bounded() -> None:
    learned = Learned()
    for number in range(ENTRIES_LIMIT + 5):
        learned.accepted(f"/app{number}", NAME, 0.0)

    assert not learned.refused("/app4", NAME, CLOSED, 1.0)
    assert learned.refused("/app4", NAME, CLOSED, 2.0), "the oldest is forgotten"
    for at in range(3):
        assert not learned.refused("/app5", NAME, CLOSED, float(at))
