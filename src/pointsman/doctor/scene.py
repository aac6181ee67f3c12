"""What checks may ask, each question asked once: the machine, the driver, the canary.

Checks know this and nothing of how it is found out, so each has a test with a double for every outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeVar

from pointsman.authority.issue import Root
from pointsman.doctor.canary import Canary, Sighting
from pointsman.errors import PointsmanError
from pointsman.operate.driver_control import SERVICE
from pointsman.operate.driver_state import DriverState, driver_state
from pointsman.system.host import Host
from pointsman.system.interface import Driver, DriverError
from pointsman.system.services import ServiceStatus
from pointsman.trust.report import Finding as ProgramFinding
from pointsman.trust.report import report
from pointsman.wire import abi

T = TypeVar("T")


class Scene:
    def __init__(
        self,
        host: Host | None,
        open_driver: Callable[[], Driver],
        ca_dir: Path,
        canary: Canary | None = None,
        *,
        ask_programs: Callable[[Root], Sequence[ProgramFinding]] = report,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`host`: None where there is no Windows to look at (the lab)."""
        self.maybe_host = host
        self.open_driver = open_driver
        self.ca_dir = ca_dir
        self.ask_programs = ask_programs
        self.now = now
        self.canary = canary or Canary(open_driver)
        self._sightings: dict[tuple[int, IPv4Address | IPv6Address, int], Sighting] = {}

    @property
    def host(self) -> Host:
        """For checks that need Windows: the runner has seen to it that there is one."""
        assert self.maybe_host is not None, "the check does not say that it needs Windows"
        return self.maybe_host

    @cached_property
    def driver(self) -> DriverState:
        """Raises PointsmanError (PM205)."""
        return driver_state(self.host, self.service(SERVICE), SERVICE, self.open_driver)

    @cached_property
    def version(self) -> abi.Version | str:
        """Of the driver that answers, or why none does."""
        return self._ask(
            lambda driver: abi.decode_version(driver.control(abi.Ioctl.QUERY_VERSION, b"", abi.VERSION_SIZE))
        )

    @cached_property
    def status(self) -> abi.Status | str:
        """What the driver says of itself, or why it says nothing."""
        return self._ask(lambda driver: abi.decode_status(driver.control(abi.Ioctl.STATUS, b"", abi.STATUS_SIZE)))

    @property
    def live(self) -> abi.Status:
        """For checks that need the driver."""
        assert not isinstance(self.status, str), "the check does not say that it needs the driver"
        return self.status

    def sighting(self, protocol: int, address: IPv4Address | IPv6Address, port: int) -> Sighting:
        """Of a canary to that destination, sent once.  Raises what `Canary.send` raises."""
        key = (protocol, address, port)
        if key not in self._sightings:
            self._sightings[key] = self.canary.send(*key)
        return self._sightings[key]

    def service(self, name: str) -> ServiceStatus | None:
        with self.host.services() as services:
            return services.query(name)

    def _ask(self, question: Callable[[Driver], T]) -> T | str:
        try:
            driver = self.open_driver()
        except PointsmanError as error:
            return error.seen
        try:
            return question(driver)
        except (DriverError, abi.AbiError) as error:
            return str(error)
        finally:
            driver.close()
