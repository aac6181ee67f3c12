"""What a TLS 1.2 server says in clear during its handshake (RFC 5246 6.2.1 and 7.4), as far as anybody needs it.

It decides nothing, and keeps nothing: the bytes of one direction come in whole.
"""

from __future__ import annotations

_HANDSHAKE = 22
_CERTIFICATE_REQUEST = 13
_RECORD_HEADER = 5  # bytes: type, version, length
_MESSAGE_HEADER = 4  # bytes: type, length


def asks_for_certificate(stream: bytes) -> bool:
    """Is there a CertificateRequest in these records?  Whatever is not a whole handshake record ends the search.

    In TLS 1.3 it is encrypted, and the answer is always no.
    """
    messages = bytearray()
    at = 0
    while at + _RECORD_HEADER <= len(stream) and stream[at] == _HANDSHAKE:
        end = at + _RECORD_HEADER + int.from_bytes(stream[at + 3 : at + 5], "big")
        messages += stream[at + _RECORD_HEADER : end]
        at = end
    at = 0
    while at + _MESSAGE_HEADER <= len(messages):
        if messages[at] == _CERTIFICATE_REQUEST:
            return True
        at += _MESSAGE_HEADER + int.from_bytes(messages[at + 1 : at + 4], "big")
    return False
