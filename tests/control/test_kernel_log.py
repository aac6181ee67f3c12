"""The driver's events on disk: gaps are noted, files are bounded, and a restart goes on where the file ends."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pointsman.control.event_record import EventRecord, line_of
from pointsman.control.kernel_log import FILES, NAME, KernelLog, kept_records, last_record, rotated
from pointsman.testing.system import FakeSystem
from pointsman.wire.abi import ABI_VERSION, EVENT_BATCH, EventKind, Ioctl

RING = 256
_EVENT = struct.Struct("<QQIIIIQIIBBHHH16sIIH6x416s8x")
APP = "/usr/bin/curl".encode("utf-16-le")


class Ring(FakeSystem):
    """A driver with so many events, of which it keeps the last 256."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.driver.control = self._control  # type: ignore[method-assign]  # only READ_EVENTS is asked

    def _control(self, code: int, request: bytes, reply_size: int) -> bytes:
        del reply_size
        assert code == Ioctl.READ_EVENTS
        start = min(struct.unpack_from("<Q", request, 8)[0], self.written)
        oldest = max(0, self.written - RING)
        first = max(start, oldest)
        events = b"".join(event(number) for number in range(first, min(self.written, first + EVENT_BATCH)))
        count = len(events) // _EVENT.size
        size = 32 + len(events)
        return struct.pack("<IIQQII", size, ABI_VERSION, first + count, max(0, oldest - start), count, 0) + events


def event(number: int) -> bytes:
    kind = EventKind.PROCESS_STARTED if number % 2 else EventKind.FLOW
    flow = (1, 1) if kind is EventKind.FLOW else (0, 0)
    return _EVENT.pack(
        number, (11_644_473_600 + number) * 10_000_000, kind, *flow, 4711, 0, 1, 7,
        4 if kind is EventKind.FLOW else 0, 6, 443, 66, 0, bytes([203, 0, 113, 7]).ljust(16, b"\0"), 1, 0,
        len(APP), APP,
    )  # fmt: skip


def log(system: Ring, directory: Path, *, ours: bool = True, limit: int = 1 << 20) -> KernelLog:
    return KernelLog(system, directory, lambda: ours, limit=limit)


def test_what_the_driver_tells_is_kept_with_process_starts(tmp_path: Path) -> None:
    system = Ring()
    system.written = 40
    kept = log(system, tmp_path)
    kept.tick()
    kept.tick()
    records = list(kept_records(tmp_path))

    assert [record.sequence for record in records] == list(range(40))
    assert (kept.written, kept.lost) == (40, 0)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    assert records[0].reason == "redirected to the proxy" and records[0].address == "203.0.113.7"
    assert line_of(records[1]).endswith("started   /usr/bin/curl[4711] by process 1")
    assert line_of(records[0]).endswith("redirect  curl[4711] 203.0.113.7:443  redirected to the proxy")


def test_what_was_overwritten_is_counted_and_noted_in_its_place(tmp_path: Path) -> None:
    system = Ring()
    system.written = 10
    kept = log(system, tmp_path)
    kept.tick()
    system.written = 10 + RING + 5
    kept.tick()
    records = list(kept_records(tmp_path))

    assert kept.lost == 5
    assert [record for record in records if record.lost] == [EventRecord(sequence=15, lost=5)]
    assert records[10].lost == 5 and records[11].sequence == 15
    assert "5 events" in line_of(records[10])


def test_another_instance_goes_on_where_the_file_ends(tmp_path: Path) -> None:
    system = Ring()
    system.written = 7
    first, second = log(system, tmp_path), log(system, tmp_path)
    first.tick()
    system.written = 12
    second.tick()

    assert [record.sequence for record in kept_records(tmp_path)] == list(range(12))


def test_while_another_one_writes_nothing_is_written_twice(tmp_path: Path) -> None:
    system = Ring()
    system.written = 5
    is_ours = True
    old, new = KernelLog(system, tmp_path, lambda: is_ours), log(system, tmp_path)
    old.tick()
    is_ours = False
    system.written = 9
    old.tick()
    new.tick()
    is_ours = True  # the new one has died
    system.written = 11
    old.tick()

    assert [record.sequence for record in kept_records(tmp_path)] == list(range(11))


def test_a_driver_that_was_loaded_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    system = Ring()
    system.written = 50
    kept = log(system, tmp_path)
    kept.tick()
    system.written = 3
    kept.tick()

    assert [record.sequence for record in kept_records(tmp_path)][-3:] == [0, 1, 2]


def test_the_files_are_bounded(tmp_path: Path) -> None:
    system = Ring()
    kept = log(system, tmp_path, limit=4000)
    for _ in range(30):
        system.written += 20
        kept.tick()
    files = sorted(path.name for path in tmp_path.iterdir())
    newest = last_record(tmp_path / NAME)

    assert files == sorted(rotated(tmp_path / NAME, number).name for number in range(FILES))
    assert all(path.stat().st_size <= 4000 for path in tmp_path.iterdir())
    assert newest is not None and newest.sequence == 599


def test_a_disk_that_refuses_costs_the_records_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    system = Ring()
    system.written = 4
    kept = log(system, tmp_path / "not there")
    kept.tick()
    system.written = 6
    kept.tick()

    assert (kept.written, kept.unwritten) == (0, 6)
    assert len(caplog.records) == 1


def test_half_a_line_of_a_killed_proxy_is_passed_over(tmp_path: Path) -> None:
    system = Ring()
    system.written = 3
    log(system, tmp_path).tick()
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"sequence":3,"ti')

    assert [record.sequence for record in kept_records(tmp_path)] == [0, 1, 2]
    last = last_record(tmp_path / NAME)
    assert last is not None and last.sequence == 2
