from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from pointsman.authority.issue import (
    LEAF_LIFETIME,
    MAX_NAMES,
    ROOT_LIFETIME,
    Root,
    issue_leaf,
    issue_revocations,
    issue_root,
    may_sign,
)
from pointsman.testing import authority

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ROOT = issue_root(authority.key("root"), now=NOW, serial=1)
PUBLIC = authority.key("leaf").public_key()


def leaf(*names: str, root: Root = ROOT) -> x509.Certificate:
    return issue_leaf(root, names, PUBLIC, now=NOW, serial=2)


@pytest.mark.parametrize("name", ["example.com", "192.0.2.1", "2001:db8::1"])
def test_a_strict_verifier_accepts_a_leaf_for_the_name_that_was_asked_for(name: str) -> None:
    certificate = leaf(name, "*.other.example")
    subject = x509.DNSName(name) if name == "example.com" else x509.IPAddress(ip_address(name))

    # RFC 5280 and the CA/Browser Forum's profile as pyca/cryptography's own verifier knows them.
    verifier = PolicyBuilder().store(Store([ROOT.certificate])).time(NOW).build_server_verifier(subject)

    assert verifier.verify(certificate, []) == [certificate, ROOT.certificate]


def test_the_leaf_mirrors_all_names_and_the_first_is_its_subject() -> None:
    certificate = leaf("a.example", "*.a.example", "192.0.2.1", "2001:DB8:0:0:0:0:0:1", "a.example")

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["a.example", "*.a.example"]
    assert [str(address) for address in names.value.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]
    assert certificate.subject.rfc4514_string() == "CN=a.example"


def test_a_name_too_long_for_a_subject_makes_the_subject_empty_and_the_names_critical() -> None:
    certificate = leaf("a" * 60 + ".example.com")

    assert not list(certificate.subject)
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_names_that_no_certificate_can_carry_are_left_out() -> None:
    certificate = leaf("a.example", "", "bücher.example", "a\0b")

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example"]
    with pytest.raises(ValueError, match="needs a name"):
        leaf("")


def test_a_leaf_carries_no_more_names_than_it_may() -> None:
    certificate = leaf(*(f"n{number}.example" for number in range(1200)))

    assert len(list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)) == MAX_NAMES


def test_a_leaf_is_valid_since_yesterday_and_for_a_month_but_never_longer_than_its_root() -> None:
    assert leaf("a.example").not_valid_before_utc == NOW - timedelta(days=1)
    assert leaf("a.example").not_valid_after_utc == NOW + LEAF_LIFETIME
    old = issue_root(authority.key("root"), now=NOW - ROOT_LIFETIME + timedelta(days=3), serial=1)
    assert leaf("a.example", root=old).not_valid_after_utc == NOW + timedelta(days=3)


def test_key_identifiers_chain_and_purposes_are_right() -> None:
    certificate = leaf("a.example")
    extensions, root_extensions = certificate.extensions, ROOT.certificate.extensions

    own = root_extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == own.digest
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    root_usage = root_extensions.get_extension_for_class(x509.KeyUsage)
    assert root_usage.critical and root_usage.value.key_cert_sign and not root_usage.value.digital_signature
    constraints = root_extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and constraints.value.ca and constraints.value.path_length == 0


def test_openssl_completes_a_handshake_with_the_leaf() -> None:
    server_in, client_in = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client_context().wrap_bio(client_in, server_in, server_hostname="example.com")
    server = authority.server_context("example.com").wrap_bio(server_in, client_in, server_side=True)

    for _ in range(3):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue

    assert client.version() == "TLSv1.3"
    assert ("DNS", "example.com") in (client.getpeercert() or {})["subjectAltName"]


def test_the_key_does_not_show_when_a_root_is_printed() -> None:
    assert repr(ROOT) == "Root('CN=Pointsman root 00000001,O=Pointsman')"


def test_a_constrained_root_signs_for_its_names_only() -> None:
    root = issue_root(authority.key("root"), now=NOW, serial=1, permitted=("corp.example",))

    def is_accepted(host: str) -> bool:
        certificate = leaf(host, root=root)
        verifier = PolicyBuilder().store(Store([root.certificate])).time(NOW)
        try:
            verifier.build_server_verifier(x509.DNSName(host)).verify(certificate, [])
        except VerificationError:
            return False
        return True

    for host in ("corp.example", "www.corp.example", "elsewhere.example", "evilcorp.example"):
        assert is_accepted(host) is may_sign(root, host), host
    assert may_sign(root, "*.corp.example") and not may_sign(root, "*.example")
    assert may_sign(root, "192.0.2.1") and may_sign(ROOT, "elsewhere.example")


def test_openssl_accepts_the_revocation_list_of_the_root(tmp_path: Path) -> None:
    revocations = issue_revocations(ROOT, now=datetime.now(UTC), number=7)
    certificate = issue_leaf(ROOT, ["a.example"], PUBLIC, now=datetime.now(UTC), serial=2)
    store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file = tmp_path / "root-and-list.pem"
    file.write_bytes(pem(ROOT.certificate) + pem(revocations))
    store.load_verify_locations(cafile=file)
    store.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    chain = tmp_path / "chain.pem"
    key = authority.key("leaf").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(key + pem(certificate))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(chain)

    assert revocations.is_signature_valid(authority.key("root").public_key())
    assert shake_hands(store, serving, "a.example").version() == "TLSv1.3"
    without = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    without.load_verify_locations(cadata=pem(ROOT.certificate).decode())
    without.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    with pytest.raises(ssl.SSLCertVerificationError, match="CRL"):
        shake_hands(without, serving, "a.example")


def pem(value: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return value.public_bytes(serialization.Encoding.PEM)


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> ssl.SSLObject:
    server_in, client_in = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(client_in, server_in, server_hostname=name),
        server.wrap_bio(server_in, client_in, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[0]
