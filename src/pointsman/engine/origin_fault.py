"""What a fault of the origin's TLS means for the app: whether to step aside, and the page that can say why.

An origin that wants a client certificate, or a protocol that we left out of the offer, works well without us in the
middle: then the connection is to be relayed.  One whose certificate is not valid is what the rule says.  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from pointsman.engine.learned import CERTIFICATE_WANTED, INVALID, PROTOCOL_WANTED
from pointsman.engine.tls import TlsError
from pointsman.policy.rules import OnInvalid
from pointsman.wire.tls_handshake import asks_for_certificate

HEARD_LIMIT = 128 * 1024  # bytes of a handshake; the largest certificate messages take some 100 KiB
_ABOUT_OURS = frozenset(
    ("certificate_required", "handshake_failure", "bad_certificate", "certificate_unknown", "unsupported_certificate",
     "access_denied")
)  # fmt: skip
"""The alerts by which servers say that they wanted a certificate: OpenSSL's first two, Go's third."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the rule and the app's hello say about the origin's TLS."""

    on_invalid: OnInvalid = OnInvalid.ALERT
    has_certificate: bool = False
    """One of ours is shown to an origin that asks: if that is not enough, the operator has to know."""
    left_out: bool = False
    """The app offered other protocols as well."""


def reason_to_step_aside(failed: TlsError, terms: Terms, heard: bytes, *, established: bool) -> str | None:
    """Why the connection had better be relayed.  `heard`: the origin's bytes in its handshake; `established`: the
    handshake had been done on our side, and nothing else has come."""
    if failed.invalid_certificate:
        return INVALID if terms.on_invalid is OnInvalid.RELAY else None
    alert = failed.refused_by_peer
    if alert == "no_application_protocol":
        return PROTOCOL_WANTED if terms.left_out else None
    if alert not in _ABOUT_OURS or terms.has_certificate:
        return None
    wanted = established or alert == "certificate_required" or asks_for_certificate(heard)
    return CERTIFICATE_WANTED if wanted else None


def fault_page(host: str, reason: str) -> bytes:
    """An HTTP/1.1 response for whoever wanted a page of `host`."""
    body = (
        f"<!doctype html><meta charset=utf-8><title>{escape(host)} cannot be trusted</title>"
        f"<h1>{escape(host)} cannot be trusted</h1><p>The proxy of this machine did not connect you: {escape(reason)}."
        "<p>This page comes from the proxy, not from that site. Nothing of your request was sent to it.\n"
    ).encode("utf-8", "replace")
    return (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
