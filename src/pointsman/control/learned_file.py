"""Keep what was learned about apps that refuse our certificate, across restarts and where people can see it.

One JSON file beside the root it is about, replaced as a whole so that a reader never sees half of it.  Whoever edits or
deletes it is heard within a second.  A file that cannot be read is put aside, never a reason not to start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from pointsman.engine.learned import Entry, Learned

NAME = "learned.json"
LOOK_AGAIN = 1.0  # seconds between looks at the file
_log = logging.getLogger(__name__)
_Stamp = tuple[int, int] | None


class LearnedFile:
    """An `engine.learned.Memory`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._learned = Learned()
        self._stamp: _Stamp = None
        self._looked = -LOOK_AGAIN
        self._look()

    def find(self, app: str | None, host: str, now: float) -> Entry | None:
        if self._clock() - self._looked >= LOOK_AGAIN:
            self._look()
        return self._learned.find(app, host, now)

    def accepted(self, app: str | None, host: str, now: float) -> None:
        self._learned.accepted(app, host, now)

    def refused(self, app: str | None, host: str, reason: str, now: float, lasted: float = 0.0) -> None:
        self._look()  # another worker may have learned something since
        if self._learned.refused(app, host, reason, now, lasted):
            self._save()

    def entries(self) -> list[Entry]:
        """What is in force or was lately; some may have expired."""
        self._look()
        return self._learned.entries()

    def remove(self, app: str | None, host: str | None) -> int:
        """Forget what was learned of this app, of this host, or of both together.  Returns how many entries."""
        self._look()
        entries = self._learned.entries()
        kept = [one for one in entries if not _matches(one, app, host)]
        if len(kept) < len(entries):
            self._learned.restore(kept)
            self._save()
        return len(entries) - len(kept)

    def _look(self) -> None:
        self._looked = self._clock()
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._learned.restore(_read(self._path) if stamp is not None else ())

    def _stamp_now(self) -> _Stamp:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def _save(self) -> None:
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(self._learned.entries())) + b"\n")
            draft.replace(self._path)
        except (OSError, ValueError) as error:
            _log.warning("cannot keep what was learned in %s, it holds until this proxy ends: %s", self._path, error)
            with contextlib.suppress(OSError):
                draft.unlink()
        self._stamp = self._stamp_now()


def _matches(entry: Entry, app: str | None, host: str | None) -> bool:
    return (app is None or entry.app == app.lower()) and (host is None or entry.host == host.lower())


def _read(path: Path) -> list[Entry]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Entry])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("cannot read %s, it is put aside: %s", path, error)
        try:
            path.replace(path.with_suffix(".bad"))
        except OSError as again:
            _log.warning("nor can it be put aside: %s", again)
        return []
