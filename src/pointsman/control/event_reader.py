"""Read the driver's event ring from a place on, and say what was overwritten before it could be read.

One reader, one place; the ring belongs to nobody, so a log, a command and the policy read it side by side.
"""

from __future__ import annotations

from collections.abc import Callable

from pointsman.control.event_record import EventRecord, record_of
from pointsman.system.interface import Driver
from pointsman.wire.abi import EVENT_BATCH, EVENTS_SIZE, Ioctl, decode_events, events_request

MAX_READS = 64  # batches at one call: more than the ring holds


class EventReader:
    def __init__(self, driver: Driver, image_path: Callable[[bytes], str], *, start: int = 0) -> None:
        """`start`: the first sequence number wanted."""
        self._driver = driver
        self._image_path = image_path
        self.next = start
        self.lost = 0

    def read(self) -> list[EventRecord]:
        """What is new.  Raises DriverError, AbiError."""
        records: list[EventRecord] = []
        for _ in range(MAX_READS):
            events = decode_events(self._driver.control(Ioctl.READ_EVENTS, events_request(self.next), EVENTS_SIZE))
            if events.next_sequence < self.next:  # the driver was loaded anew and counts from 0
                self.next = 0
                continue
            # What was there before the first reader came is no loss.
            if events.lost and self.next:
                self.lost += events.lost
                records.append(EventRecord(sequence=self.next + events.lost, lost=events.lost))
            records += [record_of(event, self._image_path) for event in events.events]
            self.next = events.next_sequence
            if len(events.events) < EVENT_BATCH:
                break
        return records
