"""TLS sessions with origins, so that the next handshake is a shorter one (RFC 8446 2.2).

A session stands for a certificate that was verified for this very name, so it is kept for minutes, not for the hours
that servers allow.  It serves every connection of that time, and whether a server gives one at all is asked once in
that time: CPython copies a session by writing and parsing it, which costs half a millisecond, about what it saves.
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
    session: ssl.SSLSession | None
    """None: the server gave none."""
    context: ssl.SSLContext
    until: float


class Sessions:
    def __init__(self) -> None:
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key, context: ssl.SSLContext, now: float) -> ssl.SSLSession | None:
        """OpenSSL takes a session only into the context it comes from; that also keeps ALPN offers apart."""
        kept = self._kept.get(key)
        return kept.session if kept is not None and self._is_of(kept, context, now) else None

    def wants(self, key: Key, context: ssl.SSLContext, now: float) -> bool:
        """Nobody has asked this server lately."""
        kept = self._kept.get(key)
        return kept is None or not self._is_of(kept, context, now)

    def keep(self, key: Key, context: ssl.SSLContext, session: ssl.SSLSession | None, now: float) -> None:
        if session is not None and not (session.has_ticket or session.id):
            session = None
        self.forget(key)
        self._kept[key] = _Kept(session, context, now + LIFETIME)
        while len(self._kept) > CAPACITY:
            self._kept.popitem(last=False)

    def forget(self, key: Key) -> None:
        """The server did not take it."""
        self._kept.pop(key, None)

    def _is_of(self, kept: _Kept, context: ssl.SSLContext, now: float) -> bool:
        return kept.context is context and now < kept.until
