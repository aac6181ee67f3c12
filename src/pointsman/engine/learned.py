"""Which apps have refused our certificate for which hosts: those connections are relayed from then on, for a time.

An app that pins its server's certificate, or does not trust our root, fails at each attempt; relaying the next one is
what its user wants.  An alert that says so is believed at once, and so is an origin that we cannot stand between (it
wants a client certificate, or a protocol that we do not speak).  Only what a policy decrypts is changed by this, and
only to `relay`: a block stays a block.

An app that just closes upon our certificate may have had another reason: browsers open connections that they may need,
and drop them.  So closes count only if they follow each other (one that began before the last was counted is no new
attempt), within CLOSES_SPAN, with no handshake completed in between; not at all for a host whose certificate the app
has taken lately; and more of them are needed of an app that trusts our root, as its other hosts show.

Pure: wall-clock time is an argument, and keeping the table across restarts is decided in `control`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol, TypeVar

from msgspec import Struct

LIFETIME = 24 * 3600.0  # seconds that a refusal is remembered
ENTRIES_LIMIT = 1000  # the oldest goes first
CLOSES_NEEDED = 2
CLOSES_NEEDED_OF_TRUSTING = 4
CLOSES_SPAN = 60.0  # seconds from the first to the last
TRUST_LASTS = 3600.0  # seconds that a completed handshake says something about the app
APPS_LIMIT = 1000
CERTIFICATE_WANTED = "the origin asks for a client certificate"
PROTOCOL_WANTED = "the origin speaks none of the protocols that we do"
INVALID = "the origin's certificate is not valid"
ORIGINS = frozenset((CERTIFICATE_WANTED, PROTOCOL_WANTED, INVALID))
"""The reasons that lie with the origin."""
CLOSED = "closed upon our certificate"
DISTRUST = frozenset(
    ("unknown_ca", "bad_certificate", "certificate_unknown", "certificate_revoked", "certificate_expired",
     "unsupported_certificate", "access_denied")
)  # fmt: skip
"""The alerts (RFC 8446 6.2) by which a client rejects a certificate."""

CLOCK_SLACK = 24 * 3600.0  # seconds that a clock may be set back
Key = tuple[str, str]
K = TypeVar("K")
V = TypeVar("V")


class Entry(Struct, frozen=True):
    app: str
    """Full path in lower case; empty if the system could not tell."""
    host: str
    reason: str
    since: float
    """Seconds since 1970, UTC, as is `until`."""
    until: float


class Memory(Protocol):
    """What a connection asks."""

    def find(self, app: str | None, host: str, now: float) -> Entry | None: ...

    def accepted(self, app: str | None, host: str, now: float) -> None:
        """The app has completed a handshake with our certificate for this host."""


class _Closes(Struct):
    count: int
    first: float
    last: float


class Learned:
    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._closes: OrderedDict[Key, _Closes] = OrderedDict()
        self._accepted: OrderedDict[Key, float] = OrderedDict()
        self._trusting: OrderedDict[str, float] = OrderedDict()
        """When an app has last taken a certificate of ours, for any host."""
        self.restore(entries)

    def restore(self, entries: Iterable[Entry]) -> None:
        """Forget all but these."""
        self._entries.clear()
        for entry in entries:
            self._add(entry)

    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def find(self, app: str | None, host: str, now: float) -> Entry | None:
        key = _key(app, host)
        entry = self._entries.get(key)
        # One of the future was learned by a clock that has been set back since: nobody knows how old it is.
        if entry is not None and not entry.since - CLOCK_SLACK <= now < entry.until:
            del self._entries[key]
            return None
        return entry

    def accepted(self, app: str | None, host: str, now: float) -> None:
        key = _key(app, host)
        self._closes.pop(key, None)
        _put(self._accepted, key, now, ENTRIES_LIMIT)
        _put(self._trusting, key[0], now, APPS_LIMIT)

    def refused(self, app: str | None, host: str, reason: str, now: float, lasted: float = 0.0) -> bool:
        """True if that adds an entry: the next attempt is relayed.

        `lasted`: seconds from the app's hello to the refusal.
        """
        key = _key(app, host)
        if reason == CLOSED:
            if not self._closed_often(key, now, now - lasted):
                return False
        elif reason not in DISTRUST and reason not in ORIGINS:
            return False
        self._closes.pop(key, None)
        self._add(Entry(*key, reason, now, now + LIFETIME))
        return True

    def _closed_often(self, key: Key, now: float, began: float) -> bool:
        if _lately(self._accepted.get(key), now):
            return False
        closes = self._closes.pop(key, None)
        if closes is None or not 0 <= now - closes.first <= CLOSES_SPAN:
            closes = _Closes(1, now, now)
        elif began >= closes.last:
            closes = _Closes(closes.count + 1, closes.first, now)
        _put(self._closes, key, closes, ENTRIES_LIMIT)
        trusting = _lately(self._trusting.get(key[0]), now)
        return closes.count >= (CLOSES_NEEDED_OF_TRUSTING if trusting else CLOSES_NEEDED)

    def _add(self, entry: Entry) -> None:
        _put(self._entries, (entry.app, entry.host), entry, ENTRIES_LIMIT)


def _put(table: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    """As the latest; the oldest go."""
    table.pop(key, None)
    table[key] = value
    while len(table) > limit:
        table.popitem(last=False)


def _lately(when: float | None, now: float) -> bool:
    return when is not None and now - when < TRUST_LASTS


def _key(app: str | None, host: str) -> Key:
    return (app or "").lower(), host.lower()
