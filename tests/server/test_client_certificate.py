"""Client certificates that a rule shows to the origin: real handshakes with an origin that insists."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from pointsman.control.policy_file import load_policy
from pointsman.errors import PointsmanError
from pointsman.server.upstream_tls import UpstreamContexts
from pointsman.testing import authority
from pointsman.testing.memory import APP, ORIGIN, Rig, TlsEnd, pump

NAME = "www.example.com"
RULE = '[[rule]]\naction = "inspect"\nclient_certificate = "client.pem"\n'
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def write_certificate(path: Path, name: str, encryption: KeySerializationEncryption | None = None) -> None:
    issuer, key, now = authority.root(), authority.key(name), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(issuer.key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))


def demanding(version: ssl.TLSVersion) -> ssl.SSLContext:
    server = authority.server_context(NAME)
    server.maximum_version = version
    server.load_verify_locations(cadata=authority.pem(authority.root()))
    server.verify_mode = ssl.CERT_REQUIRED
    return server


@pytest.fixture
def contexts(tmp_path: Path) -> UpstreamContexts:
    (tmp_path / "roots.pem").write_text(authority.pem(authority.root()))
    write_certificate(tmp_path / "client.pem", "alice")
    return UpstreamContexts([tmp_path / "roots.pem"], certificates=tmp_path)


def shown(contexts: UpstreamContexts, server: ssl.SSLContext, policy: str = RULE) -> tuple[Rig, str | None]:
    rig = Rig(policy, upstream_tls=contexts, certified_tls=contexts.with_certificate)
    app = TlsEnd(rig, APP, authority.client_context(trusts=authority.root("proxy")), NAME)
    origin = TlsEnd(rig, ORIGIN, server)
    pump(app, origin)
    subject = (origin.tls.getpeercert() or {}).get("subject") if origin.established else None
    return rig, str(subject[0][0][1]) if subject else None


@pytest.mark.parametrize("version", VERSIONS)
def test_an_origin_that_asks_gets_the_certificate_of_the_rule(
    contexts: UpstreamContexts, version: ssl.TLSVersion
) -> None:
    rig, name = shown(contexts, demanding(version))
    assert name == "alice" and rig.minted and rig.learned.entries() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_other_rules_show_none(contexts: UpstreamContexts, version: ssl.TLSVersion) -> None:
    other = RULE.replace("[[rule]]", '[[rule]]\nhost = "other.example"')
    _, name = shown(contexts, demanding(version), other)
    assert name is None


@pytest.mark.parametrize("version", VERSIONS)
def test_one_that_the_origin_does_not_take_is_the_operators_business(
    contexts: UpstreamContexts, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    server = authority.server_context(NAME)
    server.maximum_version = version
    server.load_verify_locations(cadata=authority.pem(authority.root("unknown")))
    server.verify_mode = ssl.CERT_REQUIRED
    rig, _ = shown(contexts, server)

    assert rig.closed and rig.record.error is not None and "the peer sent the alert" in rig.record.error
    assert rig.learned.entries() == [] and rig.dials == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_one_that_is_gone_is_no_reason_to_stop_decrypting(
    contexts: UpstreamContexts, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    (tmp_path / "client.pem").unlink()
    rig, _ = shown(contexts, demanding(version))

    assert rig.closed and rig.learned.entries() == [] and rig.dials == 1


def test_a_file_that_has_changed_is_used_from_the_next_connection_on(
    contexts: UpstreamContexts, tmp_path: Path
) -> None:
    server = demanding(ssl.TLSVersion.TLSv1_3)
    assert shown(contexts, server)[1] == "alice"
    first = contexts.with_certificate("client.pem")(())
    assert contexts.with_certificate("client.pem")(()) is first, "loaded once"
    write_certificate(tmp_path / "client.pem", "bob")
    assert shown(contexts, server)[1] == "bob"


def test_those_used_last_stay_loaded(
    contexts: UpstreamContexts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.server.upstream_tls.CERTIFICATES_LIMIT", 2)
    for name in ("b.pem", "c.pem"):
        (tmp_path / name).write_bytes((tmp_path / "client.pem").read_bytes())
    first, second = (contexts.with_certificate(name)(()) for name in ("client.pem", "b.pem"))
    assert contexts.with_certificate("client.pem")(()) is first
    contexts.with_certificate("c.pem")(())

    assert contexts.with_certificate("client.pem")(()) is first
    assert contexts.with_certificate("b.pem")(()) is not second


def test_one_that_has_gone_bad_does_not_replace_the_one_in_use(contexts: UpstreamContexts, tmp_path: Path) -> None:
    server = demanding(ssl.TLSVersion.TLSv1_3)
    shown(contexts, server)
    (tmp_path / "client.pem").write_text("nonsense")
    assert shown(contexts, server)[1] == "alice"


def test_a_policy_with_a_usable_file_loads(tmp_path: Path) -> None:
    write_certificate(tmp_path / "client.pem", "alice")
    (tmp_path / "p.toml").write_text(RULE)
    assert load_policy(tmp_path / "p.toml").rules[0].client_certificate == "client.pem"


def test_what_cannot_be_used_is_an_error_of_the_policy(tmp_path: Path) -> None:
    policy, file = tmp_path / "p.toml", tmp_path / "client.pem"
    policy.write_text(RULE)

    def complaint() -> str:
        with pytest.raises(PointsmanError) as caught:
            load_policy(policy)
        assert caught.value.code == "PM301"
        return caught.value.seen

    assert complaint() == f"{policy}:1: client_certificate: cannot use client.pem: no such file or directory"
    file.mkdir()
    assert complaint().endswith("not a plain file")
    file.rmdir()
    write_certificate(file, "alice")
    file.chmod(0o640)
    assert complaint().endswith("others may read or change it (mode 640); use 600")
    write_certificate(file, "alice", BestAvailableEncryption(b"secret"))
    assert "unencrypted key" in complaint()
    file.write_text("nonsense")
    assert "not a certificate with its unencrypted key, in PEM" in complaint()


@pytest.mark.parametrize("key", ['client_certificate = "x.pem"', 'on_invalid = "page"'])
def test_rules_that_do_not_decrypt_have_no_use_for_them(tmp_path: Path, key: str) -> None:
    (tmp_path / "p.toml").write_text(f'[[rule]]\naction = "relay"\n{key}\n')
    with pytest.raises(PointsmanError) as caught:
        load_policy(tmp_path / "p.toml")
    assert 'found with action "relay"; allowed: "inspect", "intercept"' in caught.value.seen
