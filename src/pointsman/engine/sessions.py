"""What is remembered of origins: TLS sessions, so that the next handshake is a shorter one (RFC 8446 2.2), and the
facts of their certificates that a leaf mirrors.

A session stands for a certificate that was verified for this very name, so it is kept for minutes, not for the hours
that servers allow.  It serves every connection of that time, and whether a server gives one at all is asked once in
that time: CPython copies a session by writing and parsing it, which costs half a millisecond, about what it saves.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pointsman.engine.tls import CertificateFacts

LIFETIME = 600.0  # seconds
CAPACITY = 512  # sessions, and certificates; one takes a few KiB

Key = tuple[str, int]
"""The name we asked for, and the port."""


@dataclass(frozen=True, slots=True)
class _Kept:
    session: ssl.SSLSession | None
    """None: the server gave none."""
    context: ssl.SSLContext
    until: float
    after_refusal: bool = False
    """The server did not take the one before."""


class Sessions:
    def __init__(self) -> None:
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

        self._facts: dict[bytes, CertificateFacts] = {}

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

    def keep(
        self,
        key: Key,
        context: ssl.SSLContext,
        session: ssl.SSLSession | None,
        now: float,
        *,
        after_refusal: bool = False,
    ) -> None:
        if session is not None and not (session.has_ticket or session.id):
            session = None
        self._kept.pop(key, None)
        self._kept[key] = _Kept(session, context, now + LIFETIME, after_refusal)
        while len(self._kept) > CAPACITY:
            self._kept.popitem(last=False)

    def facts(self, certificate: bytes, read: Callable[[], CertificateFacts]) -> CertificateFacts:
        """Those of this certificate (DER); `read` tells them if it is new."""
        facts = self._facts.get(certificate)
        if facts is None:
            if len(self._facts) >= CAPACITY:
                self._facts.clear()
            facts = self._facts[certificate] = read()
        return facts

    def refused(self, key: Key, context: ssl.SSLContext, now: float) -> bool:
        """The server did not take the session it was offered.  True if it should be asked for another one.

        It may have forgotten, once.  One that refuses twice in a row gives sessions and takes none.
        """
        kept = self._kept.pop(key, None)
        if kept is not None and kept.after_refusal:
            self.keep(key, context, None, now)
            return False
        return True

    def _is_of(self, kept: _Kept, context: ssl.SSLContext, now: float) -> bool:
        return kept.context is context and now < kept.until
