from __future__ import annotations

import ssl

import pytest

from pointsman.testing.authority import client_context
from pointsman.wire.tls_alert import Alert, fatal_alert


def test_a_fatal_alert_is_one_plaintext_record() -> None:
    assert fatal_alert(Alert.UNKNOWN_CA) == bytes.fromhex("15 0303 0002 02 30")


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        (Alert.UNKNOWN_CA, "TLSV1_ALERT_UNKNOWN_CA"),
        (Alert.CERTIFICATE_EXPIRED, "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
        (Alert.HANDSHAKE_FAILURE, "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    ],
)
def test_a_real_client_reads_the_alert_as_the_answer_to_its_hello(alert: Alert, reason: str) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="example.com")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()

    incoming.write(fatal_alert(alert))

    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()
    assert caught.value.reason == reason
