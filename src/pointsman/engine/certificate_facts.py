"""A peer's certificate as addons read it; taken apart only if one does."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID


class Certificate:
    def __init__(self, der: bytes) -> None:
        """`der`: one that TLS has verified."""
        self._der = der

    @cached_property
    def _parsed(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self._der)

    @property
    def subject(self) -> list[tuple[str, str]]:
        return _pairs(self._parsed.subject)

    @property
    def issuer(self) -> list[tuple[str, str]]:
        return _pairs(self._parsed.issuer)

    @property
    def cn(self) -> str | None:
        return _first(self._parsed.subject, NameOID.COMMON_NAME)

    @property
    def organization(self) -> str | None:
        return _first(self._parsed.subject, NameOID.ORGANIZATION_NAME)

    @property
    def serial(self) -> int:
        return self._parsed.serial_number

    @property
    def notbefore(self) -> datetime:
        return self._parsed.not_valid_before_utc

    @property
    def notafter(self) -> datetime:
        return self._parsed.not_valid_after_utc

    def has_expired(self) -> bool:
        return datetime.now(UTC) > self.notafter

    @property
    def altnames(self) -> list[str]:
        """Host names and addresses."""
        try:
            names = self._parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
        return names.get_values_for_type(x509.DNSName) + addresses

    def fingerprint(self) -> bytes:
        """SHA-256."""
        return self._parsed.fingerprint(hashes.SHA256())

    def to_pem(self) -> bytes:
        return self._parsed.public_bytes(serialization.Encoding.PEM)

    def __repr__(self) -> str:
        return f"Certificate({self.cn}, {self.altnames})"


def _pairs(name: x509.Name) -> list[tuple[str, str]]:
    """As (`CN`, value)."""
    return [(one.rfc4514_attribute_name, str(one.value)) for one in name]


def _first(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else None
