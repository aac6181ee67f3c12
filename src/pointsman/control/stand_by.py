"""What a worker sees of the operating system: everything, but it neither decides nor stands in for its parent.

The driver passes what registered processes connect, and nobody else's: a worker's own connections carry redirect
records, which keep them from being redirected again, but a block rule would meet them.  So a worker registers too, with
the shortest lease and without ever renewing it: it is exempt for as long as it lives, and once the lease is over the
driver never takes it for the proxy.  Filters are the parent's alone.  (docs/decisions.md)
"""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.system.interface import ControlChannel, Driver, PersistentFilters, Processes, RedirectSource, System
from pointsman.wire.abi import Ioctl
from pointsman.wire.filters import Filter
from pointsman.wire.process_facts import ProcessFacts


class StandByDriver:
    """Implements `interface.Driver`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def control(self, code: int, request: bytes, reply_size: int) -> bytes:
        return b"" if code == Ioctl.RENEW else self._driver.control(code, request, reply_size)

    def close(self) -> None:
        self._driver.close()


class NoFilters:
    """Implements `interface.FilterEngine`."""

    def replace(self, filters: Sequence[Filter]) -> None:
        del filters

    def close(self) -> None:
        pass


class StandByProcesses:
    """Implements `interface.Processes`; which programs run matters to whoever makes filters."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self.sees_tokens = processes.sees_tokens

    def facts(self, pid: int) -> ProcessFacts | None:
        return self._processes.facts(pid)

    def image(self, pid: int, start: int) -> str | None:
        return self._processes.image(pid, start)

    def running(self) -> frozenset[str]:
        return frozenset()

    def sid_of(self, user: str) -> str | None:
        return self._processes.sid_of(user)


class StandBySystem:
    """Implements `interface.System`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.redirects: RedirectSource = system.redirects
        self.processes = StandByProcesses(system.processes)
        self.persistent_filters: PersistentFilters = system.persistent_filters
        self.control: ControlChannel = system.control

    def open_driver(self) -> StandByDriver:
        return StandByDriver(self._system.open_driver())

    def open_filter_engine(self) -> NoFilters:
        return NoFilters()

    def app_id(self, path: str) -> bytes:
        return self._system.app_id(path)

    def image_path(self, app_id: bytes) -> str:
        return self._system.image_path(app_id)

    def close(self) -> None:
        self._system.close()
