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
ROOT_LIFETIME = timedelta(days=3 * 365)
LEAF_LIFETIME = timedelta(days=30)
REVOCATIONS_LIFETIME = timedelta(days=7)
MAX_NAMES = 1000  # in one leaf; large CDNs list hundreds
COMMON_NAME_LIMIT = 64  # characters, RFC 5280 upper bound


@dataclass(frozen=True, slots=True)
class Root:
    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    def __repr__(self) -> str:  # never lets the key near a log
        return f"Root({self.certificate.subject.rfc4514_string()!r})"


def issue_root(
    key: EllipticCurvePrivateKey,
    *,
    now: datetime,
    serial: int,
    organization: str = "Pointsman",
    permitted: tuple[str, ...] = (),
    lifetime: timedelta = ROOT_LIFETIME,
) -> Root:
    """A root that signs leafs only: path length 0.

    Args:
        now: in UTC.
        permitted: DNS names; the root is good for these and what is below them, and for nothing else (RFC 5280
            4.2.1.10).  Whether a client looks at this in a root is its own choice (windows-user-space.md 6.3).

    Raises:
        ValueError: a name in `permitted` is none.
    """
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organization} root {serial & 0xFFFF_FFFF:08x}"),
        ]
    )
    public = key.public_key()
    builder = (
        _builder(
            subject=name,
            issuer=name,
            key=public,
            serial=serial,
            since=now - BACKDATED,
            until=now + lifetime,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if permitted:
        subtrees = [x509.DNSName(host) for host in permitted]
        builder = builder.add_extension(x509.NameConstraints(subtrees, None), critical=True)
    return Root(builder.sign(key, hashes.SHA256()), key)


def permitted_names(root: Root) -> tuple[str, ...]:
    """The DNS names of its name constraints; empty: it may sign for all."""
    try:
        constraints = root.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(tree.value for tree in constraints.permitted_subtrees or () if isinstance(tree, x509.DNSName))


def may_sign(root: Root, name: str) -> bool:
    """Is `name` within the root's name constraints?  Constraints on DNS names leave addresses free."""
    permitted = permitted_names(root)
    return not permitted or _is_permitted(permitted, name)


def signable(root: Root, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those within the root's name constraints: any other would spoil the whole leaf."""
    permitted = permitted_names(root)
    return tuple(name for name in names if _is_permitted(permitted, name)) if permitted else names


def _is_permitted(permitted: tuple[str, ...], name: str) -> bool:
    if _address(name) is not None:
        return True
    host = name.lower().removeprefix("*.")
    return any(host == tree.lower() or host.endswith("." + tree.lower()) for tree in permitted)


def issue_revocations(root: Root, *, now: datetime, number: int) -> x509.CertificateRevocationList:
    """The list of revoked leafs, which is empty: for clients that will not go on without one (Schannel's curl)."""
    authority = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(now - BACKDATED)
        .next_update(now + REVOCATIONS_LIFETIME)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority), critical=False)
        .sign(root.key, hashes.SHA256())
    )


def issue_leaf(
    root: Root,
    names: Iterable[str],
    key: EllipticCurvePublicKey,
    *,
    now: datetime,
    serial: int,
    revocations: str | None = None,
) -> x509.Certificate:
    """A server certificate for `names` (DNS names, wildcards, addresses), the name that was asked for first.

    Names that no certificate can carry are left out, and so is what exceeds MAX_NAMES.

    Args:
        revocations: URL of the list of revoked certificates.

    Raises:
        ValueError: none is left.
    """
    general = _general_names(names)
    if not general:
        raise ValueError("a leaf needs a name")
    authority = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    subject = _subject(general[0])
    until = min(now + LEAF_LIFETIME, root.certificate.not_valid_after_utc)
    builder = (
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
    )
    if revocations is not None:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(revocations)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return builder.sign(root.key, hashes.SHA256())


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
    """Empty for an address: OpenSSL takes it for a host name there, which name constraints may forbid."""
    text = str(name.value)
    if len(text) > COMMON_NAME_LIMIT or isinstance(name, x509.IPAddress):
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
