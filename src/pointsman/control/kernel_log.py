"""Keep the driver's events on disk while the proxy runs: JSON lines, rotated, bounded.

The ring in the kernel holds 256; what this does not fetch in time is counted and noted as lost, in its place.  It goes
on where the file ends, so a restart and a hand-over leave no gap but what was overwritten meanwhile.  During a
hand-over the older instance stops writing, since the newer one does.  A log that cannot be written costs the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from pointsman.control.event_reader import EventReader
from pointsman.control.event_record import EventRecord
from pointsman.system.interface import Driver, DriverError, System
from pointsman.wire.abi import AbiError

NAME = "kernel-events.jsonl"
POLL = 0.2  # seconds: 1280 events a second are kept
FILE_LIMIT = 8 * 1024 * 1024  # bytes
FILES = 4  # the one that is written, and older ones as NAME.1 to NAME.3
TAIL = 64 * 1024  # bytes in which the last whole line is looked for
_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class KernelLog:
    def __init__(
        self, system: System, directory: Path, is_ours: Callable[[], bool], *, limit: int = FILE_LIMIT
    ) -> None:
        """`is_ours`: False while another instance writes."""
        self._system = system
        self._path = directory / NAME
        self._is_ours = is_ours
        self._limit = limit
        self._driver: Driver | None = None
        self._reader: EventReader | None = None
        self.written = 0
        self.lost = 0
        """Overwritten in the ring before they were read."""
        self.unwritten = 0
        """Read, but the disk refused them."""
        self._has_failed = False
        self._is_failing = False
        self._is_torn = False
        """The file ends within a line: the disk took only a part of it."""

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(POLL)

    def tick(self) -> None:
        """One look.  Never raises for what the driver or the disk says."""
        if not self._is_ours():
            self._reader = None  # another one goes on; whoever comes back begins where the file ends then
            return
        try:
            records = self._open().read()
        except (DriverError, AbiError) as error:
            if not self._has_failed:
                _log.warning("cannot read the driver's events: %s", error)
            self._has_failed = True
            self.close()
            return
        self.lost += sum(record.lost for record in records)
        if records:
            self._write(records)

    def close(self) -> None:
        """Closing twice is harmless."""
        driver, self._driver, self._reader = self._driver, None, None
        if driver is not None:
            driver.close()

    def _open(self) -> EventReader:
        if self._driver is None:
            self._driver = self._system.open_driver()
        if self._reader is None:
            last = last_record(self._path)
            start = 0 if last is None else last.sequence + (0 if last.lost else 1)
            self._reader = EventReader(self._driver, self._system.image_path, start=start)
        return self._reader

    def _write(self, records: list[EventRecord]) -> None:
        data = b"".join(_encoder.encode(record) + b"\n" for record in records)
        try:
            if self._path.exists() and self._path.stat().st_size + len(data) > self._limit:
                self._rotate()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self._path, flags, 0o600)
            try:
                lead = b"\n" if self._is_torn else b""
                taken = os.write(descriptor, lead + data) - len(lead)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._lose(len(records), str(error))
            return
        whole = data.count(b"\n", 0, max(0, taken))
        self.written += whole
        self._is_torn = taken < 0 or not data[:taken].endswith(b"\n")
        if whole < len(records):
            self._lose(len(records) - whole, "the disk took only a part")
        elif self._is_failing:
            self._is_failing = False
            _log.warning("%s can be written again; %d events are not in it", self._path, self.unwritten)

    def _lose(self, count: int, why: str) -> None:
        self.unwritten += count
        if not self._is_failing:
            self._is_failing = True
            _log.warning("cannot write %s: %s; events are lost, connections go on", self._path, why)

    def _rotate(self) -> None:
        for number in range(FILES - 1, 0, -1):
            source = rotated(self._path, number - 1)
            if source.exists():
                source.replace(rotated(self._path, number))


def rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def kept_records(directory: Path) -> Iterator[EventRecord]:
    """Everything that is on disk, oldest first; lines that are none are left out."""
    decoder = msgspec.json.Decoder(EventRecord)
    for number in range(FILES - 1, -1, -1):
        path = rotated(directory / NAME, number)
        try:
            with path.open("rb") as file:
                for line in file:
                    try:
                        yield decoder.decode(line)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        continue  # half a line of a killed proxy
        except OSError:
            continue  # not there, or not readable to us


def last_record(path: Path) -> EventRecord | None:
    decoder = msgspec.json.Decoder(EventRecord)
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(lines):
        try:
            return decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return None
