"""Pause: for a time everything goes direct, and then by itself it does not.

The registration stays and its lease is renewed; only the filters are gone, in one transaction, and come back in one.
Withdrawing instead would hand the traffic to an older instance that is still there.  A proxy that dies or hangs
meanwhile leaves everything direct, as always.  Open connections go on.
"""

from __future__ import annotations

import asyncio
import logging

from pointsman.control.commands import CommandError
from pointsman.control.registration import Phase, Registration
from pointsman.system.interface import DriverError

LONGEST = 24 * 3600.0  # seconds; what is to be off for longer should be stopped or have another policy
AGAIN = 1.0  # seconds after which a refused end is tried again
_log = logging.getLogger(__name__)


class Pause:
    def __init__(self, registration: Registration) -> None:
        self._registration = registration
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def left(self) -> float | None:
        """Seconds; None while nothing is paused."""
        return max(0.0, self._timer.when() - self._loop.time()) if self._timer is not None else None

    def pause(self, seconds: float) -> None:
        """From now on for so long; a second pause counts from now.

        Raises:
            CommandError: it cannot be done now, or not for so long.
        """
        if not 0 < seconds <= LONGEST:
            raise CommandError(f"a pause has more than 0 and at most {LONGEST:g} seconds")
        if self._registration.phase is Phase.PROBATION:
            raise CommandError("this instance is not in charge yet")
        try:
            self._registration.enter(Phase.PAUSED)
        except DriverError as error:
            raise CommandError(f"the filter engine refused: {error}") from error
        self._set_timer(seconds)
        _log.warning("paused for %g s: connections go direct", seconds)

    def carry_on(self, seconds: float) -> None:
        """The pause of the instance that we replace: the filters are gone already."""
        self._set_timer(min(seconds, LONGEST))

    def resume(self) -> None:
        """Harmless when nothing is paused.  Raises CommandError."""
        if self._timer is None:
            return
        try:
            self._registration.enter(Phase.FULL)
        except DriverError as error:
            raise CommandError(f"the filter engine refused, still paused: {error}") from error
        self.close()
        _log.warning("resumed: the policy acts again")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        try:
            self.resume()
        except CommandError as error:
            _log.warning("cannot end the pause: %s", error)
            self._set_timer(AGAIN)

    def _set_timer(self, seconds: float) -> None:
        self.close()
        self._timer = self._loop.call_later(seconds, self._over)
