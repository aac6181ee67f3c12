"""Make certificates: our root, and the leaf that stands in for an origin.

Pure: key, time and serial are arguments.  What goes in follows RFC 5280 and what OpenSSL, GnuTLS, Go, Schannel and
Chromium insist on: names only in the subjectAltName, key identifiers that chain, critical flags where they belong,
leafs that live for weeks.  Trusting the root, and keeping it, is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATED = timedelta(days=1)  # for clocks that lag
ROOT_LIFETIME = timedelta(days=5 * 365)
LEAF_LIFETIME = timedelta(days=30)
MAX_NAMES = 100  # in one leaf; large CDNs list hundreds, and the app asked for one
COMMON_NAME_LIMIT = 64  # characters, RFC 5280 upper bound


@dataclass(frozen=True, slots=True)
class Root:
    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    def __repr__(self) -> str:  # never lets the key near a log
        return f"Root({self.certificate.subject.rfc4514_string()!r})"


def issue_root(key: EllipticCurvePrivateKey, *, now: datetime, serial: int, organization: str = "Pointsman") -> Root:
    """`now` in UTC.  The root signs leafs only: path length 0."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organization} root {serial & 0xFFFF_FFFF:08x}"),
        ]
    )
    public = key.public_key()
    certificate = (
        _builder(
            subject=name,
            issuer=name,
            key=public,
            serial=serial,
            since=now - BACKDATED,
            until=now + ROOT_LIFETIME,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Root(certificate, key)


def issue_leaf(
    root: Root, names: Iterable[str], key: EllipticCurvePublicKey, *, now: datetime, serial: int
) -> x509.Certificate:
    """A server certificate for `names` (DNS names, wildcards, addresses), the name that was asked for first.

    Names that no certificate can carry are left out, and so is what exceeds MAX_NAMES.

    Raises:
        ValueError: none is left.
    """
    general = _general_names(names)
    if not general:
        raise ValueError("a leaf needs a name")
    authority = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    subject = _subject(general[0])
    until = min(now + LEAF_LIFETIME, root.certificate.not_valid_after_utc)
    return (
        _builder(
            subject=subject,
            issuer=root.certificate.subject,
            key=key,
            serial=serial,
            since=now - BACKDATED,
            until=until,
        )
        # RFC 5280 4.2.1.6: critical exactly if the subject is empty.
        .add_extension(x509.SubjectAlternativeName(general), critical=not list(subject))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
        .sign(root.key, hashes.SHA256())
    )


def _builder(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePublicKey,
    serial: int,
    since: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(since)
        .not_valid_after(until)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    found: dict[x509.GeneralName, None] = {}
    for name in names:
        general = _general_name(name)
        if general is not None and len(found) < MAX_NAMES:
            found[general] = None
    return list(found)


def _general_name(name: str) -> x509.GeneralName | None:
    address = _address(name)
    if address is not None:
        return x509.IPAddress(address)
    try:
        return x509.DNSName(name) if name and name.isascii() and name.isprintable() else None
    except ValueError:
        return None


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _subject(name: x509.GeneralName) -> x509.Name:
    text = str(name.value)
    if len(text) > COMMON_NAME_LIMIT:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
