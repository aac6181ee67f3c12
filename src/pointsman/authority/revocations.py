"""The empty list of revoked leafs of our root, signed anew before clients find it old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import serialization

from pointsman.authority.issue import Root, issue_revocations

RENEW_AFTER = timedelta(days=1)


class Revocations:
    def __init__(self, root: Root, *, now: Callable[[], datetime]) -> None:
        self._root = root
        self._now = now
        self._signed: tuple[datetime, bytes] | None = None

    def __call__(self) -> bytes:
        """In DER.  Signing takes a fraction of a millisecond, once in RENEW_AFTER."""
        now = self._now()
        if self._signed is None or not timedelta(0) <= now - self._signed[0] < RENEW_AFTER:
            made = issue_revocations(self._root, now=now, number=int(now.timestamp()))  # grows, as RFC 5280 5.2.3 asks
            self._signed = now, made.public_bytes(serialization.Encoding.DER)
        return self._signed[1]
