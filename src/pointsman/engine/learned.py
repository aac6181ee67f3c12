"""Which apps have refused our certificate for which hosts: those connections are relayed from then on, for a time.

An app that pins its server's certificate, or does not trust our root, fails at each attempt; relaying the next one is
what its user wants.  An alert that says so is believed at once.  An app that just closes upon our certificate may have
had another reason, so that counts from the second time on.  Only what a policy calls `inspect` is changed by this, and
only to `relay`: a block stays a block.

Pure: wall-clock time is an argument, and keeping the table across restarts is decided in `control`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

LIFETIME = 24 * 3600.0  # seconds that a refusal is remembered
ENTRIES_LIMIT = 1000  # the oldest goes first
CLOSES_NEEDED = 2
CLOSED = "closed upon our certificate"
DISTRUST = frozenset(
    ("unknown_ca", "bad_certificate", "certificate_unknown", "certificate_revoked", "certificate_expired",
     "unsupported_certificate", "access_denied")
)  # fmt: skip
"""The alerts (RFC 8446 6.2) by which a client rejects a certificate."""

CLOCK_SLACK = 24 * 3600.0  # seconds that a clock may be set back
Key = tuple[str, str]


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


class Learned:
    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._closes: OrderedDict[Key, int] = OrderedDict()
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

    def refused(self, app: str | None, host: str, reason: str, now: float) -> bool:
        """True if that adds an entry: the next attempt is relayed."""
        key = _key(app, host)
        if reason == CLOSED:
            self._closes[key] = self._closes.pop(key, 0) + 1
            while len(self._closes) > ENTRIES_LIMIT:
                self._closes.popitem(last=False)
            if self._closes[key] < CLOSES_NEEDED:
                return False
        elif reason not in DISTRUST:
            return False
        self._closes.pop(key, None)
        self._add(Entry(*key, reason, now, now + LIFETIME))
        return True

    def _add(self, entry: Entry) -> None:
        self._entries.pop((entry.app, entry.host), None)
        self._entries[entry.app, entry.host] = entry
        while len(self._entries) > ENTRIES_LIMIT:
            self._entries.popitem(last=False)


def _key(app: str | None, host: str) -> Key:
    return (app or "").lower(), host.lower()
