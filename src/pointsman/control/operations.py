"""What a running proxy does when it is told to: the handlers behind the control channel's commands.

It decides what each command means and what its arguments may be; the parts that it calls know nothing of commands.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from pointsman import __version__
from pointsman.control.commands import CommandError, Commands, Result
from pointsman.control.drain import DRAIN_DEFAULT, DRAIN_LONGEST, Drain
from pointsman.control.flow_log import FlowLog
from pointsman.control.kernel_log import KernelLog
from pointsman.control.learned_file import LearnedFile
from pointsman.control.pause import Pause
from pointsman.control.policy_in_force import PolicyInForce
from pointsman.control.registration import Phase, Registration
from pointsman.server.limits import Counters
from pointsman.wire.abi import ABI_VERSION, Endpoints

PAUSE_DEFAULT = 300.0  # seconds
FLOWS_AT_ONCE = 200  # records in one reply: each has at most 2,048 characters of path


@dataclass(frozen=True, slots=True)
class Operations:
    """The parts of one run that can be told something."""

    endpoints: Endpoints
    registration: Registration
    in_force: PolicyInForce
    counters: Counters
    flows: FlowLog
    events: KernelLog
    learned: LearnedFile
    pause: Pause
    drain: Drain
    started: float
    """Seconds since 1970."""

    def commands(self) -> Commands:
        commands = Commands()
        commands.add("status", self._status)
        commands.add("pause", self._pause)
        commands.add("resume", self._resume)
        commands.add("drain", self._drain)
        commands.add("flows", self._flows)
        commands.add("learned", self._learned)
        commands.add("forget", self._forget)
        return commands

    async def _status(self, arguments: dict[str, Any]) -> Result:
        _expect(arguments)
        policy = self.in_force.whole
        return {
            "pid": os.getpid(),
            "version": __version__,
            "abi": ABI_VERSION,
            "started": self.started,
            "registration": self.registration.number,
            "lease_ms": self.registration.lease_ms,
            "refused_renewals": self.registration.refused_renewals,
            "phase": self.registration.phase.name.lower(),
            "state": self.drain.state,
            "paused_seconds": self.pause.left,
            "endpoints": [f"{one[0]}:{one[1]}" for one in (self.endpoints.v4, self.endpoints.v6) if one],
            "policy": {
                "source": policy.source,
                "rules": len(policy.rules),
                "reloads": self.in_force.reloads,
                "refused": self.in_force.refused_reloads,
                "refusal": self.in_force.refusal,
            },
            "connections": asdict(self.counters),
            "flow_records": {"written": self.flows.written, "lost": self.flows.lost},
            "kernel_events": {
                "written": self.events.written,
                "lost": self.events.lost,
                "unwritten": self.events.unwritten,
            },
            "learned": len(self.learned.entries()),
        }

    async def _pause(self, arguments: dict[str, Any]) -> Result:
        self.pause.pause(_seconds(arguments, PAUSE_DEFAULT, "seconds"))
        return {"paused_seconds": self.pause.left}

    async def _resume(self, arguments: dict[str, Any]) -> Result:
        _expect(arguments)
        was_paused = self.pause.left is not None
        self.pause.resume()
        return {"was_paused": was_paused}

    async def _drain(self, arguments: dict[str, Any]) -> Result:
        _expect(arguments, "seconds", "successor")
        limit = _seconds({"seconds": arguments.get("seconds", DRAIN_DEFAULT)}, DRAIN_DEFAULT, "seconds")
        if not 0 <= limit <= DRAIN_LONGEST:
            raise CommandError(f"a drain has 0 to {DRAIN_LONGEST:g} seconds")
        successor = arguments.get("successor")
        if successor is None:
            self.drain.leave(limit)
        elif not isinstance(successor, int) or successor <= self.registration.number:
            raise CommandError(f"registration {successor} is no successor of {self.registration.number}")
        elif self.registration.phase is Phase.PROBATION:
            raise CommandError("this instance is not in charge yet")
        else:
            self.drain.replaced(limit)
        return {"state": self.drain.state, "open": self.counters.open}

    async def _flows(self, arguments: dict[str, Any]) -> Result:
        """Records from number `since` on; the caller asks again from `next` until it is `written`."""
        _expect(arguments, "since")
        since = arguments.get("since", 0)
        if isinstance(since, bool) or not isinstance(since, int) or since < 0:
            raise CommandError("since is a number of records")
        records, following = self.flows.recent(since, FLOWS_AT_ONCE)
        return {
            "file": str(self.flows.file) if self.flows.file is not None else None,
            "lost": self.flows.lost,
            "sees_all": self.flows.sees_all,
            "written": self.flows.written,
            "next": following,
            "records": msgspec.to_builtins(records),
        }

    async def _learned(self, arguments: dict[str, Any]) -> Result:
        _expect(arguments)
        return {"entries": msgspec.to_builtins(self.learned.entries())}

    async def _forget(self, arguments: dict[str, Any]) -> Result:
        _expect(arguments, "app", "host")
        app, host = arguments.get("app"), arguments.get("host")
        if not all(one is None or isinstance(one, str) for one in (app, host)):
            raise CommandError("app and host are text")
        return {"removed": self.learned.remove(app, host)}


def _expect(arguments: dict[str, Any], *names: str) -> None:
    unknown = sorted(set(arguments) - set(names))
    if unknown:
        raise CommandError(f"no argument {unknown[0][:40]!r} here")


def _seconds(arguments: dict[str, Any], default: float, name: str) -> float:
    _expect(arguments, name)
    value = arguments.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CommandError(f"{name} is a number")
    return float(value)
