"""Programs that run: a look at first, then the driver's events; a driver that says nothing costs nothing."""

from __future__ import annotations

import struct

from pointsman.control.programs import Programs
from pointsman.system.interface import DriverError
from pointsman.testing.system import INVALID_PARAMETER, FakeDriver, FakeSystem
from pointsman.wire.abi import ABI_VERSION, APP_ID_MAX, EVENT_BATCH, EVENTS_SIZE, EventKind, Flag, Ioctl

EVENT = struct.Struct("<QQIIIIQIIBBHHH16sIIH6x416s8x")
HEAD = struct.Struct("<IIQQII")


class EventDriver(FakeDriver):
    """A driver with a list of programs that have started."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[EventKind, str]] = []
        self.is_broken = False

    def control(self, code: int, request: bytes, reply_size: int) -> bytes:
        if code != Ioctl.READ_EVENTS:
            return super().control(code, request, reply_size)
        if self.is_broken:
            raise DriverError("READ_EVENTS", INVALID_PARAMETER)
        assert reply_size == EVENTS_SIZE
        first = struct.unpack_from("<Q", request, 8)[0]
        batch = self.started[first : first + EVENT_BATCH]
        events = b"".join(self._event(first + n, kind, path) for n, (kind, path) in enumerate(batch))
        size = HEAD.size + len(events)
        return HEAD.pack(size, ABI_VERSION, first + len(batch), 0, len(batch), 0) + events

    def _event(self, number: int, kind: EventKind, path: str) -> bytes:
        image = path.encode("utf-16-le")[:APP_ID_MAX]
        flags = Flag.APP_ID_TRUNCATED if len(path) > APP_ID_MAX // 2 else 0
        return EVENT.pack(number, 0, kind, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, flags, b"", 1, 0, len(image), image)


def rig() -> tuple[FakeSystem, EventDriver, Programs]:
    system = FakeSystem()
    driver = system.driver = EventDriver()
    system.processes.programs = {"/usr/bin/old"}
    return system, driver, Programs(system)


def test_it_begins_with_what_runs_and_goes_on_with_what_starts() -> None:
    _, driver, programs = rig()
    programs.refresh()
    assert programs.known == {"/usr/bin/old"}

    driver.started = [(EventKind.PROCESS_STARTED, f"/app/{n}") for n in range(3 * EVENT_BATCH)]
    driver.started.append((EventKind.FLOW, "/app/flow"))
    programs.refresh()
    assert programs.known == {"/usr/bin/old", *(f"/app/{n}" for n in range(3 * EVENT_BATCH))}

    driver.started.append((EventKind.PROCESS_STARTED, "/app/last"))
    programs.refresh()
    assert "/app/last" in programs.known
    programs.close()
    programs.close()
    assert driver.closed


def test_without_events_it_looks_at_all_processes_each_time() -> None:
    system, driver, programs = rig()
    driver.is_broken = True
    programs.refresh()
    system.processes.programs = {"/usr/bin/new"}
    programs.refresh()

    assert programs.known == {"/usr/bin/new"}
    assert programs.failed_reads == 2


def test_programs_that_have_ended_are_forgotten_when_there_are_too_many() -> None:
    _, driver, programs = rig()
    driver.started = [(EventKind.PROCESS_STARTED, f"/app/{n}") for n in range(1500)]
    programs.refresh()
    assert len(programs.known) == 1501
    programs.refresh()

    assert programs.known == {"/usr/bin/old"}


def test_a_program_with_a_long_path_is_known_by_all_of_it() -> None:
    system, driver, programs = rig()
    path = "/" + "d" * 250 + "/app"
    system.processes.images = {7: path}
    driver.started = [(EventKind.PROCESS_STARTED, path)]
    programs.refresh()

    assert path in programs.known
