"""TLS sessions with origins, so that the next handshake is a short one (RFC 8446 2.2; half of the CPU of a full one).

A session stands for a certificate that was verified for this very name, so it is kept for minutes, not for the hours
that servers allow.  Each is used once, as RFC 8446 C.4 wants it; the connection that used it brings the next.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from dataclasses import dataclass

LIFETIME = 600.0  # seconds
CAPACITY = 512  # sessions; one takes a few KiB in OpenSSL

Key = tuple[str, int]
"""The name we asked for, and the port."""


@dataclass(frozen=True, slots=True)
class _Kept:
    session: ssl.SSLSession
    context: ssl.SSLContext
    until: float


class Sessions:
    def __init__(self) -> None:
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, key: Key, context: ssl.SSLContext, now: float) -> ssl.SSLSession | None:
        """OpenSSL takes a session only into the context it comes from; that also keeps ALPN offers apart."""
        kept = self._kept.pop(key, None)
        return kept.session if kept is not None and kept.context is context and now < kept.until else None

    def keep(self, key: Key, context: ssl.SSLContext, session: ssl.SSLSession | None, now: float) -> None:
        if session is None or not (session.has_ticket or session.id):
            return
        self._kept.pop(key, None)
        self._kept[key] = _Kept(session, context, now + LIFETIME)
        while len(self._kept) > CAPACITY:
            self._kept.popitem(last=False)
