"""Read the flow records of a running proxy: from its flow file, or from what it remembers of the last ones.

The file has the longer history and that of workers, and stays when the proxy goes; the control channel needs no file.
Both are polled, since neither can be waited for on every system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

import msgspec

from pointsman.engine.flow_record import FlowRecord

TAIL = 64 << 20  # bytes of a file that are looked through for older records
CHUNK = 1 << 20  # bytes at once
MAX_REPLIES = 64  # of the control channel for one look: more than it remembers

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""The `flows` command of one proxy.  Raises OSError, CommandError."""


class Source(Protocol):
    def read(self) -> list[FlowRecord]:
        """What is there and has not been given yet, oldest first.  Raises OSError, CommandError."""


class RememberedFlows:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._next = 0
        self.lost = 0
        """Forgotten by the proxy between two looks."""

    def read(self) -> list[FlowRecord]:
        found: list[FlowRecord] = []
        for _ in range(MAX_REPLIES):
            reply = self._ask({"since": self._next})
            records = msgspec.convert(reply["records"], list[FlowRecord])
            following = int(reply["next"])
            if self._next:
                self.lost += max(0, following - len(records) - self._next)
            found += records
            self._next = following
            if following >= int(reply["written"]):
                break
        return found


class FlowFile:
    """JSON lines.  Lines that are none, such as half a one of a proxy that was killed, are left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at: int | None = None
        self._rest = b""
        self._decoder = msgspec.json.Decoder(FlowRecord)

    def read(self) -> list[FlowRecord]:
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            is_first = self._at is None
            start = max(0, size - TAIL) if self._at is None else self._at
            if size < start:  # it was emptied or replaced
                start, self._rest = 0, b""
            file.seek(start)
            found: list[FlowRecord] = []
            while chunk := file.read(CHUNK):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                if is_first and start:
                    del lines[:1]  # what the tail begins within
                is_first = False
                found += self._decoded(lines)
            self._at = file.tell()
        return found

    def _decoded(self, lines: Iterable[bytes]) -> Iterable[FlowRecord]:
        for line in lines:
            try:
                yield self._decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue


def wanted(record: FlowRecord, app: str | None, host: str | None) -> bool:
    """`app`: a path, or a file name with or without `.exe`; `host`: a name with those below it, or an address."""
    return (app is None or _is_app(record.app, app.lower())) and (host is None or _is_host(record, host.lower()))


def _is_app(path: str | None, app: str) -> bool:
    if path is None:
        return False
    text = path.lower()
    name = (PureWindowsPath(text) if "\\" in text else PurePosixPath(text)).name
    return app in (text, name, name.removesuffix(".exe"))


def _is_host(record: FlowRecord, host: str) -> bool:
    name = (record.host or "").lower()
    return name == host or name.endswith(f".{host}") or record.address == host
