"""Ready TLS server contexts, one for each set of names and ALPN, so that a leaf is issued once and not per connection.

Safe to call from threads: issuing costs about a millisecond, mostly in loading the result, and callers keep it off
the event loop.  One leaf key serves the whole run (it never outlives the process), since making keys is what
costs.  Bounded, least recently used out first.

A client of TLS 1.2 that takes no tickets (Java 8 is one) leaves its session in OpenSSL's table, 1 kB each, up to 20,480
in every context and for hours; Python can neither turn that off nor make it smaller.  So a context that has some of
them is replaced, and its table goes with it when its last connection does.

CPython loads certificates from files only (python/cpython#129216), so each leaf passes through a private file that is
gone before `get` returns: in memory on Linux, a temporary one elsewhere.  The day CPython loads them from memory,
`_load` loses its file.
"""

from __future__ import annotations

import os
import ssl
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from pointsman.authority.issue import Root, issue_leaf, signable

CAPACITY = 1024  # contexts; one takes 21 kB in OpenSSL, and its sessions up to 128 kB
CAPACITY_WITH_KEY_LOG = 128
SESSIONS_LIMIT = 128  # in the table of one context: as much as the context itself
TICKETS = 1  # for each connection: it is good for one more, which brings the next
RENEW_BEFORE_END = timedelta(days=10)

Key = tuple[tuple[str, ...], str | None, str | None]


class LeafCache:
    def __init__(
        self,
        root: Root,
        *,
        now: Callable[[], datetime],
        serial: Callable[[], int] = x509.random_serial_number,
        capacity: int = CAPACITY,
        key_log: Path | None = None,
    ) -> None:
        """`key_log`: where TLS secrets are written."""
        self._root = root
        self._now = now
        self._serial = serial
        # With a key log each context holds a file open.
        self._capacity = capacity if key_log is None else min(capacity, CAPACITY_WITH_KEY_LOG)
        self._key_log = key_log
        self._key = generate_private_key(SECP256R1())
        self._key_pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._ready: OrderedDict[Key, tuple[datetime, datetime, ssl.SSLContext]] = OrderedDict()
        self._lock = Lock()
        self.issued = 0

    def __len__(self) -> int:
        return len(self._ready)

    def cached(self, names: tuple[str, ...], alpn: str | None, revocations: str | None = None) -> ssl.SSLContext | None:
        """What is there already; never issues.  Waits only while another thread issues."""
        with self._lock:
            return self._look_up((names, alpn, revocations))

    def get(self, names: tuple[str, ...], alpn: str | None, revocations: str | None = None) -> ssl.SSLContext:
        """`revocations`: URL of a list that the leaf names.

        Raises ValueError if no name can be in a certificate, OSError if there is no room for the file."""
        # The lock covers the issuing too: a page that opens six connections to one host needs one leaf.
        with self._lock:
            found = self._look_up((names, alpn, revocations))
            if found is not None:
                return found
            certificate = issue_leaf(
                self._root,
                signable(self._root, names),
                self._key.public_key(),
                now=self._now(),
                serial=self._serial(),
                revocations=revocations,
            )
            context = self._context(certificate, alpn)
            valid = (certificate.not_valid_before_utc, certificate.not_valid_after_utc - RENEW_BEFORE_END)
            self._ready[names, alpn, revocations] = (*valid, context)
            self.issued += 1
            while len(self._ready) > self._capacity:
                self._ready.popitem(last=False)
            return context

    def _look_up(self, key: Key) -> ssl.SSLContext | None:
        found = self._ready.get(key)
        if found is None:
            return None
        good_from, good_until, context = found
        is_good = good_from <= self._now() < good_until  # the clock may also have been set back
        if not is_good or context.session_stats()["number"] >= SESSIONS_LIMIT:
            del self._ready[key]
            return None
        self._ready.move_to_end(key)
        return context

    def _context(self, certificate: x509.Certificate, alpn: str | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.num_tickets = TICKETS
        if self._key_log is not None:
            context.keylog_filename = str(self._key_log)
        if alpn is not None:
            context.set_alpn_protocols([alpn])
        _load(context, self._key_pem + certificate.public_bytes(serialization.Encoding.PEM))
        return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """`ssl` takes files only: one in memory where there is such a thing, so that a full disk fails nobody's connection.

    Raises OSError.
    """
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("pointsman-leaf"), "wb", buffering=0) as memory:
            memory.write(pem)
            name = f"/proc/self/fd/{memory.fileno()}"
            if os.path.exists(name):
                context.load_cert_chain(name)
                return
    handle, name = tempfile.mkstemp(prefix="pointsman-leaf-")  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        context.load_cert_chain(name)
    finally:
        os.unlink(name)
