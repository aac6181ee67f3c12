"""Our registration with the driver, and the filters that go with it, from registering to withdrawing.

Order matters.  Filters carry the registration number, so registering comes first; between the two there are no
filters of ours, and every connection goes direct.  At the end the registration goes first: then the filters that
still stand are those of an inactive registration, which pass, and no connection is redirected to a listener that is
about to close.

A renewal that the driver refuses (it was reloaded, the lease ran out while the machine slept) leads to a new
registration with new filters.  While the driver answers nothing at all, connections go direct, and we try again at
every beat.

The filters are those of the policy, as far as the `Phase` lets them act: a new instance that has not proved itself
blocks what is to be blocked and redirects its own canary alone; a paused one has none.  Each change of phase is one
transaction of the filter engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto

from pointsman.errors import Exit, PointsmanError
from pointsman.policy.compile import AUTH_LAYERS, compile_policy
from pointsman.policy.rules import Policy
from pointsman.policy.sight import Sight
from pointsman.system.interface import Driver, DriverError, FilterEngine, System
from pointsman.wire.abi import (
    ABI_VERSION,
    REGISTERED_SIZE,
    STATUS_SIZE,
    VERSION_SIZE,
    AbiError,
    Endpoints,
    Ioctl,
    Status,
    decode_registered,
    decode_status,
    decode_version,
    register_request,
    registration_request,
)
from pointsman.wire.filters import Filter

BEAT = 1.0  # seconds between renewals; the shortest lease is given half of its time
_log = logging.getLogger(__name__)


class Phase(Enum):
    """How far the policy acts."""

    FULL = auto()
    PROBATION = auto()
    """Blocks hold; of TCP only the canary is redirected, so that what might fail is nobody's connection."""
    PAUSED = auto()
    """Nothing: everything goes direct."""


class Registration:
    def __init__(
        self, system: System, policy: Policy, endpoints: Endpoints, *, lease_ms: int,
        phase: Phase = Phase.FULL, canary: Sequence[Filter] = (),
    ) -> None:  # fmt: skip
        """`canary`: the filters that stand during PROBATION, beside the blocks; their contexts lack the number."""
        self._system = system
        self._policy = policy
        self._programs: frozenset[str] = frozenset()
        self._canary = tuple(canary)
        self._compiled: Sequence[Filter] = ()
        self.phase = phase
        self.registers_again = True
        """False for an instance that is being replaced: registering anew would make it the newest."""
        self._endpoints = endpoints
        self.lease_ms = lease_ms
        self._driver: Driver | None = None
        self._filters: FilterEngine | None = None
        self.number = 0
        """0 while we are not registered."""
        self.refused_renewals = 0

    @property
    def beat(self) -> float:
        return min(BEAT, self.lease_ms / 2000)

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
        filters = await asyncio.to_thread(self._compile, policy, programs)
        before = (self._policy, self._programs)
        self.prepare(policy, programs)
        if self._filters is None or not self.number:
            return  # the next registration installs them
        try:
            self._install(filters)
        except DriverError:
            self.prepare(*before)
            raise

    def enter(self, phase: Phase) -> None:
        """Let the policy act as far as `phase` says, from now on.

        Raises:
            DriverError: the engine refused; the previous phase goes on.
        """
        before, self.phase = self.phase, phase
        if self._filters is None or not self.number:
            return  # the next registration acts on it
        try:
            self._install(self._compiled)
        except DriverError:
            self.phase = before
            raise

    def status(self) -> Status:
        """What the driver says of itself and of all instances.  Raises DriverError, AbiError."""
        if self._driver is None:
            raise DriverError("STATUS", 0xC000_009D)  # STATUS_DEVICE_NOT_CONNECTED: we let go of it
        return decode_status(self._driver.control(Ioctl.STATUS, b"", STATUS_SIZE))

    async def keep(self) -> None:
        """Renew until cancelled."""
        while self._driver is not None:
            await asyncio.sleep(self.beat)
            self.renew()

    def renew(self) -> None:
        """One beat.  Never raises for what the driver says: connections fail open, and there is another beat."""
        if self._driver is None:
            return  # withdrawn for good
        try:
            if self.number:
                self._driver.control(Ioctl.RENEW, registration_request(self.number), 0)
                return
        except DriverError as error:
            self.refused_renewals += 1
            self.number = 0
            _log.warning("the driver refused to renew the lease: %s", error)
        if not self.registers_again:
            return
        try:
            self._register()
        except (DriverError, AbiError) as error:
            _log.warning("cannot register with the driver, connections go direct: %s", error)

    def again(self) -> None:
        """Register anew, to be the newest: another process of ours has registered since.

        In between connections go direct.  Never raises, as `renew`.
        """
        if self._driver is None:
            return
        number, self.number = self.number, 0
        try:
            if number:
                self._driver.control(Ioctl.WITHDRAW, registration_request(number), 0)
        except DriverError as error:
            _log.warning("the driver refused to withdraw the registration: %s", error)
        self.renew()

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
        # Compiled before we are the newest: until the filters stand, nobody's policy acts.
        compiled = self._compile(self._policy, self._programs)
        request = register_request(self._endpoints, lease_ms=self.lease_ms)
        registered = decode_registered(self._driver.control(Ioctl.REGISTER, request, REGISTERED_SIZE))
        self.number = registered.registration
        self._install(compiled)

    def _install(self, compiled: Sequence[Filter]) -> None:
        """In one transaction.  Raises DriverError."""
        assert self._filters is not None, "open comes first"
        self._filters.replace([numbered(one, self.number) for one in self._acting(compiled)])
        self._compiled = compiled

    def _acting(self, compiled: Sequence[Filter]) -> Sequence[Filter]:
        match self.phase:
            case Phase.FULL:
                return compiled
            case Phase.PROBATION:
                return [*self._canary, *(one for one in compiled if one.layer in AUTH_LAYERS)]
            case Phase.PAUSED:
                return ()

    def _compile(self, policy: Policy, programs: frozenset[str]) -> list[Filter]:
        """Without the registration number, which is known only when we are the active one already."""
        processes = self._system.processes
        sight = Sight(self._system.app_id, programs, processes.sid_of if processes.sees_tokens else None)
        return compile_policy(policy, 0, sight)


def numbered(one: Filter, registration: int) -> Filter:
    """A filter as that of a registration (PM_FILTER_REGISTRATION)."""
    return replace(one, context=one.context & 0xFFFF_FFFF | registration << 32)


def _refused(seen: str) -> PointsmanError:
    return PointsmanError(
        "cannot register with the driver",
        code="PM204",
        seen=seen,
        effect="nothing is intercepted; connections go direct (fail open)",
        do="see `pointsman doctor`",
    )
