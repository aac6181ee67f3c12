"""The policy in force: from the file to the kernel's filters and to the proxy, kept current.

Once a second it looks whether the file, or a list that it names, has changed (and has been left alone for a second: an
editor may be half-way), whether a rule's time has come or gone, and which programs have started.  A change swaps all
filters in one transaction, then the proxy decides by the new policy; connections that are open keep the decision that
they have.  A bad file changes nothing: the reason is logged once, and what was in force stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pointsman.control.policy_file import load_policy
from pointsman.control.programs import Programs
from pointsman.control.registration import Registration
from pointsman.errors import PointsmanError
from pointsman.policy.index import index_of
from pointsman.policy.rules import DAY, Policy, active_at
from pointsman.system.interface import DriverError, System

POLL = 1.0  # seconds
_log = logging.getLogger(__name__)
Stamps = tuple[tuple[int, int, int], ...]


def minute_of_week(now: datetime) -> int:
    """Of local time; Monday 00:00 is 0."""
    return now.weekday() * DAY + now.hour * 60 + now.minute


class PolicyInForce:
    def __init__(
        self, policy: Policy, file: Path | None, system: System, registration: Registration,
        *, now: Callable[[], datetime] = datetime.now,
    ) -> None:  # fmt: skip
        """`file`: where `policy` came from; None for the built-in one, which never changes."""
        self._whole = policy
        self._file = file
        self._programs = Programs(system)
        self._registration = registration
        self._now = now
        self._use: Callable[[Policy], None] = lambda _: None
        self._in_force: tuple[Policy, frozenset[str]] | None = None
        self._loaded = self._last_seen = self._stamps()
        self._refusal = ""
        self.reloads = 0
        self.refused_reloads = 0
        self.refusal: str | None = None
        """Why the file as it is now is not in force."""

    @property
    def whole(self) -> Policy:
        """As loaded: rules whose time has not come included."""
        return self._whole

    def start(self, use: Callable[[Policy], None]) -> None:
        """Before the registration is opened.  `use` makes the proxy decide by another policy."""
        self._use = use
        policy, programs = self._in_force = self._wanted()
        self._registration.prepare(policy, programs)
        use(policy)

    def take(self, policy: Policy) -> None:
        """Decide by another policy, which somebody else keeps current and has told the kernel of."""
        self._whole = policy
        self._in_force = self._wanted()
        self._use(self._in_force[0])

    async def keep(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(POLL)
            await self.tick()

    async def tick(self) -> None:
        """One look.  Never raises for what is in the file or what the driver says."""
        stamps = self._stamps()
        is_settled, self._last_seen = stamps == self._last_seen, stamps
        if is_settled and stamps != self._loaded:
            await self._reload(stamps)
        wanted = self._wanted()
        if wanted != self._in_force:
            await self._swap(wanted)

    def close(self) -> None:
        self._programs.close()

    async def _reload(self, stamps: Stamps) -> None:
        assert self._file is not None, "what has no file has no stamps that change"
        self._loaded = stamps
        try:
            # A list of a million names takes seconds; connections must not wait for it.
            self._whole = await asyncio.to_thread(load_policy, self._file)
            self.reloads += 1
            self.refusal = None
            self._loaded = self._last_seen = self._stamps()  # it may name other lists now
            _log.warning("%s: in force, %d rules", self._file, len(self._whole.rules))
        except PointsmanError as error:
            self.refused_reloads += 1
            self.refusal = str(error)
            _log.warning("%s", error)

    async def _swap(self, wanted: tuple[Policy, frozenset[str]]) -> None:
        policy, programs = wanted
        try:
            await asyncio.to_thread(index_of, policy)  # thousands of rules take longer than a connection should wait
            await self._registration.swap(policy, programs)
        except (DriverError, PointsmanError) as error:
            # Left as it is, and tried again at the next look: kernel and proxy must not go by different policies.
            if str(error) != self._refusal:
                _log.warning("the new filters cannot be installed, the old ones stand: %s", error)
            self._refusal = str(error)
            return
        self._in_force, self._refusal = wanted, ""
        self._use(policy)

    def _wanted(self) -> tuple[Policy, frozenset[str]]:
        policy = active_at(self._whole, minute_of_week(self._now()))
        if not any(rule.app.is_open for rule in policy.rules):
            return policy, frozenset()
        self._programs.refresh()
        return policy, self._programs.known

    def _stamps(self) -> Stamps:
        if self._file is None:
            return ()
        return tuple(map(_stamp, (self._file, *(self._file.parent / name for name in self._whole.lists))))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)  # gone for now; loading says so if it stays away
    return (found.st_mtime_ns, found.st_size, found.st_ino)
