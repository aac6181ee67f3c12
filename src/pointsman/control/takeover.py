"""Taking over from a running instance: prove ourselves first, then be in charge, then let the older ones go.

    listening    our own ports are open, the canary is ready
    registered   we are the active instance, on probation: blocks hold, and of TCP only our canary is redirected here
    canary       it came through WFP, driver, redirect and TLS and back
    active       the policy's filters stand: new connections come to us
    relieved     the older instances know; they finish what they have (`control.drain`)

Whatever goes wrong before `active` costs nobody a connection: we withdraw (or die, or hang, and the driver notices) and
the older instance is the active one again.  While on probation, what would have been redirected goes direct.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pointsman.control.canary import Canary, CanaryError
from pointsman.control.commands import CommandError, ask
from pointsman.control.pause import Pause
from pointsman.control.registration import Phase, Registration
from pointsman.errors import Exit, PointsmanError
from pointsman.system.interface import DriverError, System
from pointsman.wire.abi import AbiError, Endpoints

AGAIN = 1.0  # seconds between attempts to reach an older instance that does not answer
_log = logging.getLogger(__name__)

OnStep = Callable[[str, dict[str, Any]], None]
"""The name of a step above, and what is known of it."""


class Takeover:
    def __init__(
        self, system: System, registration: Registration, pause: Pause, own_pid: int, *, drain: float, on_step: OnStep
    ) -> None:
        """`drain`: seconds that the older instances give to their open connections."""
        self._system = system
        self._registration = registration
        self._pause = pause
        self._own_pid = own_pid
        self._drain = drain
        self._on_step = on_step
        self._older: list[int] = []

    async def prove(self, canary: Canary, endpoints: Endpoints) -> None:
        """From `registered` to `active`.  Raises PointsmanError PM461; then we have withdrawn."""
        self._on_step("registered", {"registration": self._registration.number})
        try:
            told = await canary.fly(endpoints)
            self._on_step("canary", {"came": told})
            self._must_be_active()
            await self._go_active()
        except (CanaryError, DriverError, AbiError) as error:
            self._registration.close()
            raise cannot_take_over(str(error)) from error
        self._on_step("active", {"registration": self._registration.number})

    async def relieve(self) -> None:
        """Tell the older instances, again and again if they hang, until each knows or is gone."""
        waiting = list(self._older)
        arguments = {"successor": self._registration.number, "seconds": self._drain}
        while waiting:
            for pid in tuple(waiting):
                try:
                    await asyncio.to_thread(ask, self._system, pid, "drain", arguments)
                except TimeoutError:
                    continue  # it hangs; when it wakes it must not stay behind us for ever
                except CommandError as error:
                    _log.warning("process %d does not drain: %s", pid, error)
                except OSError:
                    pass  # gone
                waiting.remove(pid)
            if waiting:
                await asyncio.sleep(AGAIN)
        self._on_step("relieved", {"older": self._older})

    def _must_be_active(self) -> None:
        """The lease may have run out while we were suspended, or a third instance may have come."""
        active = self._registration.status().active_registration
        if active != self._registration.number:
            raise CanaryError(f"registration {active} is active, not ours, {self._registration.number}")

    async def _go_active(self) -> None:
        self._older = [pid for pid in self._system.control.peers() if pid != self._own_pid]
        left = await asyncio.to_thread(self._pause_left)
        self._registration.enter(Phase.FULL if left is None else Phase.PAUSED)
        if left is not None:
            self._pause.carry_on(left)

    def _pause_left(self) -> float | None:
        """A pause outlives a hand-over.  Blocks."""
        for pid in self._older:
            try:
                left = ask(self._system, pid, "status", timeout=1.0).get("paused_seconds")
            except (CommandError, OSError):
                continue  # who does not answer has no say
            if left:
                return float(left)
        return None


def cannot_take_over(seen: str) -> PointsmanError:
    return PointsmanError(
        "cannot take over: the canary did not come through",
        code="PM461",
        seen=seen,
        effect="this instance has withdrawn; the one that was there serves on, and no connection was touched",
        do="see `pointsman status` and what the proxy logged, then try again",
        status=Exit.TAKEOVER,
    )
