"""Our registration with the driver, and the filters that go with it, from registering to withdrawing.

Order matters.  Filters carry the registration number, so registering comes first; between the two there are no
filters of ours, and every connection goes direct.  At the end the registration goes first: then the filters that
still stand are those of an inactive registration, which pass, and no connection is redirected to a listener that is
about to close.

A renewal that the driver refuses (it was reloaded, the lease ran out while the machine slept) leads to a new
registration with new filters.  While the driver answers nothing at all, connections go direct, and we try again at
every beat.
"""

from __future__ import annotations

import asyncio
import logging

from pointsman.errors import Exit, PointsmanError
from pointsman.policy.compile import compile_policy
from pointsman.policy.rules import Policy
from pointsman.policy.sight import Sight
from pointsman.system.interface import Driver, DriverError, FilterEngine, System
from pointsman.wire.abi import (
    ABI_VERSION,
    REGISTERED_SIZE,
    VERSION_SIZE,
    AbiError,
    Endpoints,
    Ioctl,
    decode_registered,
    decode_version,
    register_request,
    registration_request,
)
from pointsman.wire.filters import Filter

BEAT = 1.0  # seconds between renewals; the shortest lease is given half of its time
_log = logging.getLogger(__name__)


class Registration:
    def __init__(self, system: System, policy: Policy, endpoints: Endpoints, *, lease_ms: int) -> None:
        self._system = system
        self._policy = policy
        self._programs: frozenset[str] = frozenset()
        self._endpoints = endpoints
        self._lease_ms = lease_ms
        self._driver: Driver | None = None
        self._filters: FilterEngine | None = None
        self.number = 0
        """0 while we are not registered."""
        self.refused_renewals = 0

    @property
    def beat(self) -> float:
        return min(BEAT, self._lease_ms / 2000)

    def open(self) -> None:
        """Register and install the filters.

        Raises:
            PointsmanError: PM203, the driver speaks another ABI version; PM204, it refused us; and what the
                system raises if there is no driver.
        """
        driver = self._driver = self._system.open_driver()
        try:
            self._check_version(driver)
            self._filters = self._system.open_filter_engine()
            self._register()
        except (DriverError, AbiError) as error:
            self.close()
            raise _refused(str(error)) from error
        except BaseException:
            self.close()
            raise

    def prepare(self, policy: Policy, programs: frozenset[str]) -> None:
        """What to install at the next registration; `programs` are those that run."""
        self._policy, self._programs = policy, programs

    async def swap(self, policy: Policy, programs: frozenset[str]) -> None:
        """Install the filters of another policy, in one transaction.

        Raises:
            DriverError: the engine refused them; the previous ones stand.
        """
        number = self.number
        filters = await asyncio.to_thread(self._compile, policy, programs, number) if number else []
        before = (self._policy, self._programs)
        self.prepare(policy, programs)
        if self._filters is None or not self.number:
            return  # the next registration installs them
        if number != self.number:  # registered anew in the meantime: filters carry the number
            filters = self._compile(policy, programs, self.number)
        try:
            self._filters.replace(filters)
        except DriverError:
            self.prepare(*before)
            raise

    async def keep(self) -> None:
        """Renew until cancelled."""
        while True:
            await asyncio.sleep(self.beat)
            self.renew()

    def renew(self) -> None:
        """One beat.  Never raises for what the driver says: connections fail open, and there is another beat."""
        assert self._driver is not None, "open comes before renew"
        try:
            if self.number:
                self._driver.control(Ioctl.RENEW, registration_request(self.number), 0)
                return
        except DriverError as error:
            self.refused_renewals += 1
            self.number = 0
            _log.warning("the driver refused to renew the lease, registering again: %s", error)
        try:
            self._register()
        except (DriverError, AbiError) as error:
            _log.warning("cannot register with the driver, connections go direct: %s", error)

    def close(self) -> None:
        """Withdraw, then drop the filters.  Closing twice is harmless."""
        driver, self._driver = self._driver, None
        filters, self._filters = self._filters, None
        if driver is not None:
            if self.number:
                try:
                    driver.control(Ioctl.WITHDRAW, registration_request(self.number), 0)
                except DriverError as error:
                    # Closing the handle ends the registration as well.
                    _log.warning("the driver refused to withdraw the registration: %s", error)
            driver.close()
        self.number = 0
        if filters is not None:
            filters.close()

    def _check_version(self, driver: Driver) -> None:
        version = decode_version(driver.control(Ioctl.QUERY_VERSION, b"", VERSION_SIZE))
        if version.abi != ABI_VERSION:
            raise PointsmanError(
                "cannot configure the driver: it speaks another version",
                code="PM203",
                seen=f"driver ABI {version.abi} (pointsman.sys {version.driver}); this proxy needs ABI {ABI_VERSION}",
                effect="nothing is intercepted; connections go direct (fail open)",
                do="restart Windows to load the installed driver, then `pointsman doctor`",
                status=Exit.DRIVER_VERSION,
            )

    def _register(self) -> None:
        assert self._driver is not None and self._filters is not None, "open comes first"
        request = register_request(self._endpoints, lease_ms=self._lease_ms)
        registered = decode_registered(self._driver.control(Ioctl.REGISTER, request, REGISTERED_SIZE))
        self.number = registered.registration
        self._filters.replace(self._compile(self._policy, self._programs, self.number))

    def _compile(self, policy: Policy, programs: frozenset[str], number: int) -> list[Filter]:
        processes = self._system.processes
        sight = Sight(self._system.app_id, programs, processes.sid_of if processes.sees_tokens else None)
        return compile_policy(policy, number, sight)


def _refused(seen: str) -> PointsmanError:
    return PointsmanError(
        "cannot register with the driver",
        code="PM204",
        seen=seen,
        effect="nothing is intercepted; connections go direct (fail open)",
        do="see `pointsman doctor`",
    )
