"""Draining: how an instance that has been replaced goes away without anybody noticing.

Told by a newer instance, it does not stop at once:

  standby   It stays registered behind the newer one, with its filters, and goes on accepting.  Connections that the
            driver sent here before the switch may still arrive (a SYN that waits for its retransmission, another
            callout that thinks it over); and if the newer one dies or hangs, the driver falls back to this one, which
            then serves as if nobody had told it anything, for as long as it is the active one.
  retired   Once a newer one has been active for STANDBY seconds on end it withdraws.  What is open goes on, for as
            long as the limit allows: kept connections are closed by their own ends, never by us, so no request can be
            on its way to a connection that we close.
  over      Nothing is open any more, or the limit has come; what is left then is reset and counted.

It decides when.  What stopping does is in `control.proxy`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pointsman.control.registration import Registration
from pointsman.server.limits import Counters
from pointsman.system.interface import DriverError
from pointsman.wire.abi import AbiError

STANDBY = 10.0  # seconds; Windows and Linux have sent a lost SYN for the third time by 7 s
DRAIN_DEFAULT = 3600.0  # seconds that open connections get
DRAIN_LONGEST = 7 * 24 * 3600.0
POLL = 0.5  # seconds
_log = logging.getLogger(__name__)


class Drain:
    def __init__(
        self, registration: Registration, counters: Counters, over: Callable[[], None], *, standby: float = STANDBY
    ) -> None:
        """`over` is called once, when nothing is left to wait for."""
        self._registration = registration
        self._counters = counters
        self._over = over
        self._standby = standby
        self._limit = DRAIN_DEFAULT
        self._asked = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._since: float | None = None
        """Since when somebody else is active."""
        self.retired = False

    @property
    def state(self) -> str:
        """`serving`, `standby` or `retired`."""
        return "retired" if self.retired else "serving" if self._since is None else "standby"

    def replaced(self, limit: float) -> None:
        """A newer instance has taken over.  Asked again, the newest limit holds."""
        self._limit = limit
        self._asked.set()
        self._look()

    def leave(self, limit: float) -> None:
        """Nobody takes over: new connections go direct from now on, open ones finish."""
        self._limit = limit
        self._since = self._clock()
        self._retire()
        self._asked.set()

    async def keep(self) -> None:
        """Look until it is over, or cancelled."""
        await self._asked.wait()
        while not self._is_over():
            await asyncio.sleep(POLL)
            self._look()
        if self._counters.open:
            _log.warning("drain limit of %g s: %d connections are reset", self._limit, self._counters.open)
        self._over()

    def _look(self) -> None:
        if self.retired:
            return
        if not self._is_replaced():
            if self._since is not None:
                _log.warning("the instance that took over does not serve any more: this one does again")
            self._since = None
            self._registration.registers_again = True
            return
        self._registration.registers_again = False
        if self._since is None:
            self._since = self._clock()
        if self._clock() - self._since >= self._standby:
            self._retire()

    def _retire(self) -> None:
        self._registration.close()
        self.retired = True

    def _is_replaced(self) -> bool:
        """Does the driver send connections elsewhere, or nowhere?  Asked rather than believed."""
        try:
            return self._registration.status().active_registration != self._registration.number
        except (DriverError, AbiError):
            return True  # no driver, no connections

    def _is_over(self) -> bool:
        if self._since is None:
            return False
        waited = self._clock() - self._since
        # Even after `leave`, when we have withdrawn at once, what was on its way may arrive for a while.
        return waited >= self._limit or (self.retired and not self._counters.open and waited >= self._standby)
