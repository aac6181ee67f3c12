"""A fatal TLS alert as bytes (RFC 8446 6), for a client whose handshake we have not answered yet.

Before any ServerHello an alert is plaintext, so it needs no TLS engine.  Which alert is honest is the engine's choice.
"""

from __future__ import annotations

import struct
from enum import IntEnum

_ALERT = 21
_FATAL = 2
_LEGACY_VERSION = 0x0303


class Alert(IntEnum):
    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    INAPPROPRIATE_FALLBACK = 86
    USER_CANCELED = 90
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    UNRECOGNIZED_NAME = 112
    BAD_CERTIFICATE_STATUS_RESPONSE = 113
    UNKNOWN_PSK_IDENTITY = 115
    CERTIFICATE_REQUIRED = 116
    NO_APPLICATION_PROTOCOL = 120


def fatal_alert(alert: Alert) -> bytes:
    """One whole record."""
    return struct.pack(">BHHBB", _ALERT, _LEGACY_VERSION, 2, _FATAL, alert)
