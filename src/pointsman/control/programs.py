"""Which programs run, or ran lately: what names and globs of the policy are held against for the kernel.

A look at all processes to begin with, then the driver's process events.  A program that is missing here is no error:
the kernel hands its connections to the proxy, which decides the same (`policy.sight`).
"""

from __future__ import annotations

import logging

from pointsman.errors import PointsmanError
from pointsman.system.interface import Driver, DriverError, System
from pointsman.system.program_path import program_path
from pointsman.wire.abi import EVENT_BATCH, EVENTS_SIZE, AbiError, EventKind, Ioctl, decode_events, events_request

MAX_PROGRAMS = 1024  # beyond, those that have ended are forgotten
MAX_READS = 64  # batches of events at one beat
_log = logging.getLogger(__name__)


class Programs:
    def __init__(self, system: System) -> None:
        self._system = system
        self._driver: Driver | None = None
        self._next = 0
        self._known: set[str] = set()
        self.failed_reads = 0

    @property
    def known(self) -> frozenset[str]:
        """Full paths."""
        return frozenset(self._known)

    def refresh(self) -> None:
        """Take note of what has started since the last call; it never raises for what the driver says."""
        if self._driver is None or len(self._known) > MAX_PROGRAMS:
            self._known = set(filter(self._has_app_id, self._system.processes.running()))
        try:
            if self._driver is None:
                self._driver = self._system.open_driver()
            self._read(self._driver)
        except (DriverError, AbiError) as error:
            self.failed_reads += 1
            if self.failed_reads == 1:
                _log.warning("cannot read process events, looking at all processes instead: %s", error)
            self.close()

    def close(self) -> None:
        """Closing twice is harmless."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()

    def _read(self, driver: Driver) -> None:
        for _ in range(MAX_READS):
            events = decode_events(driver.control(Ioctl.READ_EVENTS, events_request(self._next), EVENTS_SIZE))
            self._next = events.next_sequence
            for event in events.events:
                path = program_path(self._system, event) if event.kind == EventKind.PROCESS_STARTED else None
                if path is not None and self._has_app_id(path):
                    self._known.add(path)
            if len(events.events) < EVENT_BATCH:
                return

    def _has_app_id(self, path: str) -> bool:
        """One without a drive cannot be told to the kernel: its connections go to the proxy, as unknown ones do."""
        try:
            self._system.app_id(path)
        except PointsmanError:
            return False
        return True
