"""What is no HTTP: pieces of a stream, each shown to who listens to `tcp_message` before it goes on.

Without a listener the pieces go on at once, and this is a relay.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from pointsman.engine.commands import Command, Consult, End, Pause, Resume, Send
from pointsman.engine.events import Side
from pointsman.engine.messages import TcpMessage
from pointsman.engine.rebuild import HELD_LIMIT, NOBODY, Context, Rebuild
from pointsman.policy.decision import Action

HOOKS = frozenset(("tcp_start", "tcp_message", "tcp_end", "tcp_error"))


class TcpRebuild(Rebuild):
    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._hooks = context.hooks() & HOOKS if context.decision.action is Action.INTERCEPT else NOBODY
        self._waiting: dict[Side, deque[TcpMessage]] = {side: deque() for side in Side}
        """The first one of a side is being asked about."""
        self._asked: dict[int, Side] = {}
        self._paused: set[Side] = set()
        self._ended: set[Side] = set()
        self._over = False
        self._extra: dict[str, Any] = {}

    def _started(self) -> list[Command]:
        return self._tell("tcp_start", "")

    def _received(self, side: Side, data: bytes) -> list[Command]:
        if "tcp_message" not in self._hooks:
            return [Send(side.other, data)]
        waiting = self._waiting[side]
        waiting.append(self._message(side, data))
        commands = [self._ask(side, waiting[0])] if len(waiting) == 1 else []
        if side not in self._paused and sum(len(one.content) for one in waiting) >= HELD_LIMIT:
            self._paused.add(side)
            commands.append(Pause(side))
        return commands

    def _side_ended(self, side: Side) -> list[Command]:
        if side in self._ended:
            return []
        self._ended.add(side)
        return self._end_if_done(side)

    def _answered(self, number: int) -> list[Command]:
        side = self._asked.pop(number, None)
        if side is None:
            return []
        waiting = self._waiting[side]
        message = waiting.popleft()
        if message.killed:
            self.failure, self.resets = "killed by an addon", True
            return []
        commands: list[Command] = [Send(side.other, message.content)] if message.content else []
        if waiting:
            commands.append(self._ask(side, waiting[0]))
        elif side in self._paused:
            self._paused.discard(side)
            commands.append(Resume(side))
        return commands + self._end_if_done(side)

    def _cut_off(self, why: str) -> list[Command]:
        if self._over:
            return []
        self._over = True
        return self._tell("tcp_end", "") if self.finished else self._tell("tcp_error", why)

    def _end_if_done(self, side: Side) -> list[Command]:
        if side not in self._ended or self._waiting[side]:
            return []
        self.finished = len(self._ended) == 2 and not any(self._waiting.values())
        return [End(side.other)]

    def _message(self, side: Side, data: bytes) -> TcpMessage:
        decision = self._context.decision
        return TcpMessage(
            self._context.flow, decision.action.value, decision.rule_name, side is Side.DOWNSTREAM, data,
            extra=self._extra,
        )  # fmt: skip

    def _ask(self, side: Side, message: TcpMessage) -> Command:
        number = next(self._context.numbers)
        self._asked[number] = side
        return Consult(number, "tcp_message", message)

    def _tell(self, hook: str, error: str) -> list[Command]:
        if hook not in self._hooks:
            return []
        if error:
            self._extra["error"] = error
        return [Consult(next(self._context.numbers), hook, self._message(Side.DOWNSTREAM, b""))]
