"""Our list of revoked certificates, for clients that will not go on without one (Schannel; windows-user-space.md 6.2).

If the origin's certificate names a list, the leaf that stands in for it names ours, on the same host under a path of
our own, in clear HTTP.  A client that fetches it through the proxy gets it from the proxy; no origin sees that request.
"""

from __future__ import annotations

from pointsman.engine.authority import joined_authority
from pointsman.wire.http_head import HttpHead

PATH = "/.well-known/pointsman/revoked.crl"


def url_for(host: str) -> str:
    return f"http://{joined_authority('http', host, 80)}{PATH}"


def is_asked_for(head: HttpHead) -> bool:
    return head.method == "GET" and head.path == PATH


def response(revocations: bytes) -> bytes:
    """`revocations`: a CertificateList in DER (RFC 5280 5; the media type is RFC 2585's)."""
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/pkix-crl\r\nCache-Control: max-age=3600\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(revocations), revocations)
    )
