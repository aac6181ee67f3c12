"""An origin that wants what we do not have, or cannot prove itself: relayed, a page, or an alert, as the rule says."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.engine.events import Lost
from pointsman.engine.learned import CERTIFICATE_WANTED, INVALID, PROTOCOL_WANTED, Learned
from pointsman.testing import authority
from pointsman.testing.memory import APP, EPOCH, ORIGIN, Rig, TlsEnd, pump
from pointsman.wire.tls_handshake import asks_for_certificate

NAME = "www.example.com"
GET = b"GET /x HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def policy(on_invalid: str, action: str = "inspect") -> str:
    return f'[[rule]]\naction = "{action}"\non_invalid = "{on_invalid}"\n'


def app_end(rig: Rig, *alpn: str, trusts: str = "proxy") -> TlsEnd:
    return TlsEnd(rig, APP, authority.client_context(*alpn, trusts=authority.root(trusts)), NAME)


def demanding(version: ssl.TLSVersion) -> ssl.SSLContext:
    """An origin that wants a certificate of its clients."""
    server = authority.server_context(NAME)
    server.maximum_version = version
    server.load_verify_locations(cadata=authority.pem(authority.root()))
    server.verify_mode = ssl.CERT_REQUIRED
    return server


def certified(directory: Path) -> ssl.SSLContext:
    """An app with a certificate that `demanding` takes."""
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    issuer, key = authority.root(), authority.key("client")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(issuer.certificate.not_valid_before_utc)
        .not_valid_after(datetime.now(UTC).replace(year=datetime.now(UTC).year + 1))
        .sign(issuer.key, hashes.SHA256())
    )
    pem = directory / "client.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.touch(0o600)
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = authority.client_context()
    context.load_cert_chain(pem)
    return context


def test_tls12_with_a_client_certificate_is_relayed_from_then_on(tmp_path: Path) -> None:
    rig = Rig()
    client = certified(tmp_path)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    app = TlsEnd(rig, APP, client, NAME)
    refusing = TlsEnd(rig, ORIGIN, demanding(ssl.TLSVersion.TLSv1_2))
    while rig.dials < 2:
        assert app.turn() | refusing.turn(), "it is dialled anew"
    second = Rig(learned=rig.learned)
    app = TlsEnd(second, APP, client, NAME)
    origin = TlsEnd(second, ORIGIN, demanding(ssl.TLSVersion.TLSv1_2))
    pump(app, origin)

    assert app.established and origin.established
    assert origin.tls.getpeercert() and not second.minted
    assert rig.learned.entries()[0].reason == CERTIFICATE_WANTED


def relayed_anew(rig: Rig, app: TlsEnd, refusing: ssl.SSLContext, accepting: ssl.SSLContext) -> TlsEnd:
    """The origin of the second connection, which the app's own hello has reached."""
    first = TlsEnd(rig, ORIGIN, refusing)
    while rig.dials < 2:
        assert app.turn() | first.turn(), "it is dialled anew"
    hello = bytes(rig.received[ORIGIN])
    start = hello.rindex(b"\x16\x03\x01")  # after the alert to the first one
    rig.received[ORIGIN][:] = hello[start:]
    second = TlsEnd(rig, ORIGIN, accepting)
    pump(app, second)
    return second


def test_the_connection_itself_goes_on_relayed(tmp_path: Path) -> None:
    rig = Rig()
    client = certified(tmp_path)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    app = TlsEnd(rig, APP, client, NAME)
    context = demanding(ssl.TLSVersion.TLSv1_2)
    origin = relayed_anew(rig, app, context, context)
    app.send(b"hello")
    pump(app, origin)
    for side in (APP, ORIGIN):
        rig.ends(side)

    assert origin.tls.getpeercert() and bytes(origin.received) == b"hello"
    assert (rig.record.decision, rig.record.rule) == ("relay", f"learned: {CERTIFICATE_WANTED}")
    assert rig.record.note == f"not decrypted: {CERTIFICATE_WANTED}"
    assert rig.dialled == [(None, None), (None, NAME)]


def test_tls13_with_a_client_certificate_works_at_the_second_attempt() -> None:
    """There the origin complains only after the handshake."""
    rig = Rig()
    app, origin = app_end(rig), TlsEnd(rig, ORIGIN, demanding(ssl.TLSVersion.TLSv1_3))
    pump(app, origin)

    assert rig.closed and rig.record.error == "TLS upstream: the peer sent the alert certificate_required"
    entry = rig.learned.find("/usr/bin/app", NAME, EPOCH)
    assert entry is not None and entry.reason == CERTIFICATE_WANTED
    second = Rig(learned=rig.learned)
    app = app_end(second, trusts="origin")
    pump(app, TlsEnd(second, ORIGIN, demanding(ssl.TLSVersion.TLSv1_3)))
    assert second.minted == []


def test_a_refusal_that_is_not_about_a_certificate_teaches_nothing() -> None:
    rig = Rig()
    server = authority.server_context(NAME)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    pump(app_end(rig), TlsEnd(rig, ORIGIN, server))

    assert rig.learned.entries() == [] and rig.dials == 1


ALERT_NO_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"


def test_a_protocol_that_we_left_out_of_the_offer_leads_to_relay() -> None:
    rig = Rig()
    app = app_end(rig, "h2", "special", trusts="origin")
    app.turn()
    rig.take(ORIGIN)
    rig.origin_sends(ALERT_NO_PROTOCOL)
    hello = rig.take(ORIGIN)
    rig.received[ORIGIN] += hello[hello.rindex(b"\x16\x03\x01") :]
    origin = TlsEnd(rig, ORIGIN, authority.server_context(NAME, alpn="special"))
    pump(app, origin)

    assert app.established and app.tls.selected_alpn_protocol() == "special"
    assert rig.learned.entries()[0].reason == PROTOCOL_WANTED


def test_a_protocol_that_the_app_did_not_offer_either_is_the_origins_fault() -> None:
    rig = Rig()
    app = app_end(rig, "h2")
    app.turn()
    rig.origin_sends(ALERT_NO_PROTOCOL)
    pump(app)

    assert rig.learned.entries() == [] and app.error is not None


def unproven() -> ssl.SSLContext:
    return authority.server_context(NAME, signed_by=authority.root("unknown"))


@pytest.mark.parametrize("action", ["inspect", "intercept"])
@pytest.mark.parametrize(("offered", "agreed"), [((), None), (("h2", "http/1.1"), "http/1.1")])
@pytest.mark.parametrize("lost", [False, True])
def test_a_page_says_why(action: str, offered: tuple[str, ...], agreed: str | None, lost: bool) -> None:
    rig = Rig(policy("page", action), listener=lambda *_: None)
    app, origin = app_end(rig, *offered), TlsEnd(rig, ORIGIN, unproven())
    pump(app, origin)
    if lost:
        rig.event(Lost(ORIGIN, "reset"))
    assert app.established and app.tls.selected_alpn_protocol() == agreed
    assert origin.error is not None and origin.error.reason == "TLSV1_ALERT_UNKNOWN_CA"
    app.send(GET[:10])
    pump(app)
    assert not app.received
    app.send(GET[10:])
    pump(app)

    assert app.received.startswith(b"HTTP/1.1 502 ") and app.saw_close_notify
    assert b"unable to get local issuer certificate" in app.received
    assert rig.ended >= {APP} and not rig.over
    rig.ends(APP)
    assert rig.closed
    assert (rig.record.protocol, rig.record.status, rig.record.path) == ("https", 502, "/x")
    assert rig.record.note is not None and rig.record.note.startswith("the app got an error page of ours: certificate")
    assert not origin.received and rig.learned.entries() == []


def test_a_page_whose_reader_never_asks_is_given_up() -> None:
    rig = Rig(policy("page"))
    app = app_end(rig)
    pump(app, TlsEnd(rig, ORIGIN, unproven()))
    rig.advance(60)

    assert rig.closed and rig.record.error is not None and "not finished within" in rig.record.error


def test_no_page_for_an_app_that_speaks_http2_alone() -> None:
    rig = Rig(policy("page"))
    app = app_end(rig, "h2")
    pump(app, TlsEnd(rig, ORIGIN, unproven()))

    assert app.error is not None and app.error.reason == "TLSV1_ALERT_UNKNOWN_CA"
    assert rig.record.note is None


def test_by_rule_an_origin_that_is_not_valid_is_relayed_and_the_app_judges() -> None:
    rig = Rig(policy("relay"))
    app = app_end(rig, trusts="unknown")
    origin = relayed_anew(rig, app, unproven(), unproven())

    assert app.established and origin.established
    assert rig.learned.entries()[0].reason == INVALID


def test_a_page_is_no_way_around_a_block() -> None:
    rig = Rig(f'[[rule]]\naction = "block"\nhost = "{NAME}"\n' + policy("page"))
    app = app_end(rig)
    pump(app)
    assert rig.aborted and rig.minted == []


def test_a_relayed_origin_teaches_only_what_the_rule_allows() -> None:
    learned = Learned()
    rig = Rig(policy("alert"), learned=learned)
    pump(app_end(rig), TlsEnd(rig, ORIGIN, unproven()))
    assert rig.closed and learned.entries() == []


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def records(data: bytes, size: int) -> bytes:
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"\x16\x03\x03" + len(one).to_bytes(2, "big") + one for one in cut)


@given(st.lists(st.tuples(st.sampled_from([2, 11, 12, 13, 14]), st.binary(max_size=50))), st.integers(1, 60))
def test_a_certificate_request_is_found_however_records_are_cut(messages: list[tuple[int, bytes]], size: int) -> None:
    stream = records(b"".join(message(kind, body) for kind, body in messages), size)
    assert asks_for_certificate(stream) == any(kind == 13 for kind, _ in messages)


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(data: bytes) -> None:
    assert asks_for_certificate(data) in (False, True)
