"""What is remembered of origins: TLS sessions, so that the next handshake is a shorter one (RFC 8446 2.2), and the
facts of their certificates that a leaf mirrors.

A session stands for a certificate that was verified for this very name, so it is kept for minutes, not for the hours
that servers allow.  It serves every connection of that time that makes the same offer, and whether a server gives one
at all is asked once in that time: up to Python 3.12.6 reading a session copies it by writing and parsing, which costs
half a millisecond, about what it saves, and the copy is lost (`SESSION_READS_LEAK`).  So there the reads have a limit,
too, for as long as the process lives; then handshakes are long ones.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pointsman.engine.tls import SESSION_READS_LEAK, CertificateFacts

LIFETIME = 600.0  # seconds
CAPACITY = 512  # sessions, and certificates; one takes a few KiB
LEAKING_READS_LIMIT = 1000  # of 6 kB each: a session has the server's certificate in it

Key = tuple[str, int]
"""The name we asked for, and the port."""


@dataclass(frozen=True, slots=True)
class _Kept:
    session: ssl.SSLSession | None
    """None: the server gave none."""
    until: float
    after_refusal: bool = False
    """The server did not take the one before."""


class Sessions:
    def __init__(self, *, reads_limit: int | None = LEAKING_READS_LIMIT if SESSION_READS_LEAK else None) -> None:
        """`reads_limit`: how often connections may be asked for their session; None: as often as is useful."""
        self._kept: OrderedDict[tuple[Key, ssl.SSLContext], _Kept] = OrderedDict()
        self._reads_left = reads_limit
        self._facts: dict[bytes, CertificateFacts] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key, context: ssl.SSLContext, now: float) -> ssl.SSLSession | None:
        """OpenSSL takes a session only into the context it comes from; that also keeps ALPN offers apart."""
        kept = self._fresh(key, context, now)
        return kept.session if kept is not None else None

    def wants(self, key: Key, context: ssl.SSLContext, now: float) -> bool:
        """Nobody has asked this server lately, and it may be asked."""
        return self._reads_left != 0 and self._fresh(key, context, now) is None

    def keep(
        self,
        key: Key,
        context: ssl.SSLContext,
        read: Callable[[], ssl.SSLSession | None],
        now: float,
        *,
        after_refusal: bool = False,
    ) -> None:
        """What this server gives; `read` asks the connection for it, unless another one has been asked since."""
        if not self.wants(key, context, now):
            return
        if self._reads_left is not None:
            self._reads_left -= 1
        session = read()
        if session is not None and not (session.has_ticket or session.id):
            session = None
        self._put(key, context, _Kept(session, now + LIFETIME, after_refusal))

    def facts(self, certificate: bytes, read: Callable[[], CertificateFacts]) -> CertificateFacts:
        """Those of this certificate (DER); `read` tells them if it is new."""
        facts = self._facts.get(certificate)
        if facts is None:
            if len(self._facts) >= CAPACITY:
                self._facts.clear()
            facts = self._facts[certificate] = read()
        return facts

    def refused(self, key: Key, context: ssl.SSLContext, offered: ssl.SSLSession, now: float) -> bool:
        """The server did not take the session it was offered.  True if it should be asked for another one.

        It may have forgotten, once.  One that refuses twice in a row gives sessions and takes none; of many connections
        that have offered it the same one, only the first to be refused says anything new.
        """
        kept = self._kept.get((key, context))
        if kept is not None and kept.session is offered:
            del self._kept[key, context]
            if kept.after_refusal:
                self._put(key, context, _Kept(None, now + LIFETIME))
        return self.wants(key, context, now)

    def _fresh(self, key: Key, context: ssl.SSLContext, now: float) -> _Kept | None:
        kept = self._kept.get((key, context))
        return kept if kept is not None and now < kept.until else None

    def _put(self, key: Key, context: ssl.SSLContext, kept: _Kept) -> None:
        self._kept.pop((key, context), None)
        self._kept[key, context] = kept
        while len(self._kept) > CAPACITY:
            self._kept.popitem(last=False)
