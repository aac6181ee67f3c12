"""Which sides of a connection are not read from, and why: a side reads again when every reason is gone."""

from __future__ import annotations

from pointsman.engine.commands import Command, Pause, Resume
from pointsman.engine.events import Side


class Pauses:
    __slots__ = ("_reasons",)

    def __init__(self) -> None:
        self._reasons: dict[Side, set[str]] = {Side.DOWNSTREAM: set(), Side.UPSTREAM: set()}

    def pause(self, side: Side, why: str) -> list[Command]:
        reasons = self._reasons[side]
        was_paused = bool(reasons)
        reasons.add(why)
        return [] if was_paused else [Pause(side)]

    def resume(self, side: Side, why: str) -> list[Command]:
        reasons = self._reasons[side]
        was_paused = bool(reasons)
        reasons.discard(why)
        return [Resume(side)] if was_paused and not reasons else []

    def of_layer(self, commands: list[Command]) -> list[Command]:
        """A layer pauses for its handshake, the connection for congestion: a side reads when both let it."""
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
        self._reasons[side].clear()
