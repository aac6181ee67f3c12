"""Which sides of a connection are not read from, and why: a side reads again when every reason is gone.

It is told when to pause and for what; why a layer or a queue wants it is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized

from pointsman.engine.commands import Command, Pause, Resume
from pointsman.engine.events import Side

_NONE: frozenset[str] = frozenset()


class Pauses:
    __slots__ = ("_reasons",)

    def __init__(self) -> None:
        self._reasons: dict[Side, frozenset[str]] = {}
        """Of sides that were ever paused."""

    def pause(self, side: Side, why: str) -> list[Command]:
        reasons = self._reasons.get(side, _NONE)
        self._reasons[side] = reasons | {why}
        return [] if reasons else [Pause(side)]

    def resume(self, side: Side, why: str) -> list[Command]:
        reasons = self._reasons.get(side, _NONE)
        if not reasons:
            return []
        left = self._reasons[side] = reasons - {why}
        return [] if left else [Resume(side)]

    def of_layer(self, commands: list[Command]) -> list[Command]:
        """A layer pauses for its handshake, the connection for congestion: a side reads when both let it."""
        for command in commands:
            if isinstance(command, (Pause, Resume)):
                break
        else:
            return commands
        result: list[Command] = []
        for command in commands:
            if isinstance(command, Pause):
                result += self.pause(command.side, "layer")
            elif isinstance(command, Resume):
                result += self.resume(command.side, "layer")
            else:
                result.append(command)
        return result

    def forget(self, side: Side) -> None:
        """Another connection takes its place."""
        self._reasons.pop(side, None)


def held_back(waiting: Mapping[Side, Sized], paused: set[Side], limit: int) -> list[Command]:
    """Pause each side of which as much waits as `limit`, and let it go on once it is less; `paused` is kept up."""
    commands: list[Command] = []
    for side, held in waiting.items():
        if len(held) >= limit and side not in paused:
            paused.add(side)
            commands.append(Pause(side))
        elif len(held) < limit and side in paused:
            paused.discard(side)
            commands.append(Resume(side))
    return commands
