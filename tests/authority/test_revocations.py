from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

from pointsman.authority.revocations import RENEW_AFTER, Revocations
from pointsman.testing import authority


def test_the_list_is_empty_signed_and_renewed_in_time() -> None:
    now = [datetime.now(UTC)]
    revocations = Revocations(authority.root(), now=lambda: now[0])
    first = revocations()
    now[0] += RENEW_AFTER - timedelta(seconds=1)
    assert revocations() == first
    now[0] += timedelta(seconds=1)
    second = revocations()

    old, new = x509.load_der_x509_crl(first), x509.load_der_x509_crl(second)
    assert list(new) == [] and new.is_signature_valid(authority.key("origin").public_key())
    numbers = [one.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for one in (old, new)]
    assert numbers[0] < numbers[1]
    assert old.next_update_utc is not None and old.next_update_utc > now[0]
