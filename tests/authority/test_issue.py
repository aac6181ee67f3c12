from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from pointsman.authority.issue import LEAF_LIFETIME, MAX_NAMES, Root, issue_leaf, issue_root
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
    certificate = leaf(*(f"n{number}.example" for number in range(500)))

    assert len(list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)) == MAX_NAMES


def test_a_leaf_is_valid_since_yesterday_and_for_a_month_but_never_longer_than_its_root() -> None:
    assert leaf("a.example").not_valid_before_utc == NOW - timedelta(days=1)
    assert leaf("a.example").not_valid_after_utc == NOW + LEAF_LIFETIME
    old = issue_root(authority.key("root"), now=NOW - timedelta(days=5 * 365 - 3), serial=1)
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
