"""Write flow records: JSON lines for programs, one line of text for people.

Whole lines go in one write to a file opened for appending, so two proxies (a hand-over) can share the file and a
reader never sees half a line of one inside the other.  Lines that come close together share a write (FLUSH_AFTER): at
thirty thousand a second the system call for each would cost more than the record.  A log that cannot be written costs
the records, never the traffic; lost ones are counted, and said once until it can be written again.

The last RECENT records are remembered for whoever asks the running proxy (`pointsman flows`), as they are.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TextIO

import msgspec

from pointsman.engine.flow_record import FlowRecord
from pointsman.errors import Exit, PointsmanError

FLUSH_AFTER = 0.05  # seconds that a line may wait for others
RECENT = 1000  # records that are remembered
FLUSH_RECORDS = 256  # records that wait at most; each is bounded by PATH_LIMIT

Later = Callable[[Callable[[], None]], object]
"""Runs what it is given in FLUSH_AFTER seconds."""

_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)


class FlowLog:
    def __init__(
        self,
        file: Path | None = None,
        stream: TextIO | None = None,
        *,
        json: bool = False,
        later: Later | None = None,
        sees_all: bool = True,
    ) -> None:
        """On `stream` for people, or as JSON lines.  Without `later` every line is written at once.

        `sees_all`: False for a parent of workers, whose records come past it as text.

        Raises PointsmanError PM453 if the file cannot be opened.
        """
        self._later = later
        self._scheduled = False
        self._waiting: list[FlowRecord] = []
        self._stream = stream
        self._json = json
        self._handle = _open(file) if file is not None else None
        self._recent: deque[FlowRecord] = deque(maxlen=RECENT)
        self._is_torn = False
        """The file ends within a line: the disk took only a part of it."""
        self._is_failing = False
        self.file = file.absolute() if file is not None else None
        self.sees_all = sees_all
        self._flushed = 0
        self.lost = 0

    @property
    def written(self) -> int:
        """How many records there were, with those that wait."""
        return self._flushed + len(self._waiting)

    def recent(self, since: int, limit: int) -> tuple[list[FlowRecord], int]:
        """Records from number `since` on (the first one is 0), `limit` at most, and the number of the next one.

        What is no longer remembered is left out: the first has the number `next - len(records)`.
        """
        self.flush()
        first = self.written - len(self._recent)
        start = min(max(since, first), self.written)
        records = list(islice(self._recent, start - first, start - first + limit))
        return records, start + len(records)

    def write(self, record: FlowRecord) -> None:
        waiting = self._waiting
        waiting.append(record)
        if self._scheduled and len(waiting) < FLUSH_RECORDS:
            return
        if self._later is None or len(waiting) >= FLUSH_RECORDS:
            self.flush()
        else:
            self._scheduled = True
            self._later(self._flush_later)

    def _flush_later(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        self._flushed += len(waiting)
        self._recent.extend(waiting)
        handle, stream = self._handle, self._stream
        if handle is not None:
            self._put(waiting, lambda records: self._append(handle, records))
        if stream is not None:
            self._put(waiting, lambda records: self._show(stream, records))

    def _put(self, records: Sequence[FlowRecord], write: Callable[[Sequence[FlowRecord]], object]) -> None:
        if not records:
            return
        try:
            write(records)
        except UnicodeEncodeError:  # one of them is no Unicode, such as a path with half of a surrogate pair
            if len(records) == 1:
                self.lost += 1
            else:
                for record in records:
                    self._put([record], write)
        except (OSError, ValueError) as error:  # a full disk, a closed pipe; a closed stream
            self._lose(len(records), str(error))

    def _append(self, handle: int, records: Sequence[FlowRecord]) -> None:
        """Whole lines, also after a disk that was full took a part of one.  Raises OSError."""
        lead = b"\n" if self._is_torn else b""
        data = lead + _encoder.encode_lines(records)
        taken = os.write(handle, data)
        if taken < len(data):
            self._is_torn = not data[:taken].endswith(b"\n")
            whole = data.count(b"\n", len(lead), taken)
            self._lose(len(records) - whole, "the disk took only a part")
            return
        self._is_torn = False
        if self._is_failing:
            self._is_failing = False
            _log.warning("the flow log can be written again; %d records were lost", self.lost)

    def _lose(self, count: int, why: str) -> None:
        self.lost += count
        if not self._is_failing:
            self._is_failing = True
            _log.warning("cannot write the flow log: %s; records are lost, connections go on", why)

    def _show(self, stream: TextIO, records: Sequence[FlowRecord]) -> None:
        print("".join(self._line(stream, record) for record in records), end="", file=stream, flush=True)

    def close(self) -> None:
        """Writes what waits.  Closing twice is harmless."""
        self.flush()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _line(self, stream: TextIO, record: FlowRecord) -> str:
        return json_line(record).decode() if self._json else _in(stream.encoding, human_line(record)) + "\n"


def json_line(record: FlowRecord) -> bytes:
    return _encoder.encode(record) + b"\n"


def human_line(record: FlowRecord) -> str:
    """`curl[4711] https GET example.com/path → 200  ↑86 ↓1256  23 ms  inspect (default)`"""
    where = record.host or record.address
    if record.port not in (80, 443) or record.host is None:
        where = f"[{where}]:{record.port}" if ":" in where else f"{where}:{record.port}"
    what = f"{record.method} {where}{record.path}" if record.method else where
    if record.path and record.path.startswith("http"):  # a request in absolute form
        what = f"{record.method} {record.path}"
    status = f" → {record.status}" if record.status is not None else ""
    decision = f"{record.decision} ({record.rule})" if record.decision else "undecided"
    parts = [
        f"{app_name(record.app)}[{record.pid}] {record.protocol} {what}{status}",
        f"↑{record.bytes_up} ↓{record.bytes_down}",
        f"{record.duration_ms:.0f} ms",
        decision,
    ]
    parts += [f"via {text}" for text in (record.upstream,) if text]
    parts += [f"! {text}" for text in (record.error,) if text]
    parts += [f"({text})" for text in (record.note,) if text]
    return printable("  ".join(parts))


def app_name(path: str | None) -> str:
    if path is None:
        return "?"
    return (PureWindowsPath(path) if "\\" in path else PurePosixPath(path)).name or path


def _in(encoding: str | None, text: str) -> str:
    """What a terminal of this encoding can show; the arrows are not in every one."""
    if encoding is None or encoding.lower().replace("-", "") == "utf8":
        return text
    return text.replace("→", "->").replace("↑", "+").replace("↓", "-").encode(encoding, "replace").decode(encoding)


def printable(text: str) -> str:
    """What peers sent must not move the cursor of whoever reads it."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise PointsmanError(
            f"cannot write the flow log {path}",
            code="PM453",
            seen=(error.strerror or str(error)).lower(),
            effect="the proxy does not start; nothing is intercepted (fail open)",
            do="name a file in a directory that exists and can be written",
            status=Exit.BAD_FILE,
        ) from error
