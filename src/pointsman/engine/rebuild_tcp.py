"""What is no HTTP: pieces of a stream, each shown to who listens to `tcp_message` before it goes on.

Without a listener the pieces go on at once, and this is a relay.  What listeners inject is shown like any other piece,
and goes out behind those of the same direction.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from pointsman.engine.commands import Command, Consult, End, Pause, Resume, Send
from pointsman.engine.events import Side
from pointsman.engine.injection import INJECT, Injections
from pointsman.engine.messages import TcpMessage
from pointsman.engine.rebuild import HELD_LIMIT, NOBODY, Context, Rebuild
from pointsman.policy.decision import Action

REMEMBERED = 100  # pieces that stay in `TcpMessage.past`
REMEMBERED_BYTES = 256 * 1024  # of them
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
        self._past: list[TcpMessage] = []
        self._past_sizes: deque[int] = deque()
        """As they were sent, whatever is made of them later."""
        self._past_size = 0
        wants = self._hooks and INJECT in context.hooks()
        self._injections = Injections() if wants else None
        self._injection_asked = 0
        """Number of the question what is to be injected."""

    def _started(self) -> list[Command]:
        return [*self._tell("tcp_start", ""), *self._ask_for_injections()]

    def _received(self, side: Side, data: bytes) -> list[Command]:
        return self._piece(side, data)

    def _piece(self, side: Side, data: bytes, *, injected: bool = False) -> list[Command]:
        if "tcp_message" not in self._hooks:
            if self._hooks:
                self._remember(self._message(side, data, injected=injected))
            return [Send(side.other, data)]
        waiting = self._waiting[side]
        waiting.append(self._message(side, data, injected=injected))
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

    def _ask_for_injections(self) -> list[Command]:
        if self._injections is None or self._injections.is_over:
            return []
        self._injection_asked = next(self._context.numbers)
        return [Consult(self._injection_asked, INJECT, self._stream())]

    def _inject(self) -> list[Command]:
        commands: list[Command] = []
        self._injection_asked = 0
        while self._injections is not None and (one := self._injections.take(self._congested)) is not None:
            side = Side.UPSTREAM if one.to_client else Side.DOWNSTREAM
            if side not in self._ended and one.content:
                commands += self._piece(side, one.content, injected=True)
        return commands + (self._ask_for_injections() if not self._injections else [])

    def _went_on(self) -> list[Command]:
        return self._inject() if self._injections and not self._injection_asked else []

    def _answered(self, number: int) -> list[Command]:
        if self._injection_asked and number == self._injection_asked:
            return self._inject()
        side = self._asked.pop(number, None)
        if side is None:
            return []
        waiting = self._waiting[side]
        message = waiting.popleft()
        if message.killed:
            self.failure, self.resets = "killed by an addon", True
            return []
        self._remember(message)
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
        if self._injections is not None:
            self._injections.close()
        told = self._tell("tcp_end", "") if self.finished else self._tell("tcp_error", why)
        self._past.clear()  # pieces and this list hold each other
        return told

    def _end_if_done(self, side: Side) -> list[Command]:
        if side not in self._ended or self._waiting[side]:
            return []
        self.finished = len(self._ended) == 2 and not any(self._waiting.values())
        return [End(side.other)]

    def _message(self, side: Side, data: bytes, *, injected: bool = False) -> TcpMessage:
        decision = self._context.decision
        return TcpMessage(
            self._context.flow, decision.action.value, decision.rule_name, side is Side.DOWNSTREAM, data,
            extra=self._extra, injections=self._injections, injected=injected,
            timestamp=self._context.wall(self._now), facts=self._context.facts, past=self._past,
        )  # fmt: skip

    def _stream(self) -> TcpMessage:
        """As such, and not a piece of it; with what is remembered now."""
        message = self._message(Side.DOWNSTREAM, b"")
        message.is_piece, message.past = False, list(self._past)
        return message

    def _remember(self, message: TcpMessage) -> None:
        past = self._past
        past.append(message)
        self._past_sizes.append(len(message.content))
        self._past_size += len(message.content)
        while len(past) > REMEMBERED or self._past_size > REMEMBERED_BYTES:
            del past[0]
            self._past_size -= self._past_sizes.popleft()

    def _ask(self, side: Side, message: TcpMessage) -> Command:
        number = next(self._context.numbers)
        self._asked[number] = side
        return Consult(number, "tcp_message", message)

    def _tell(self, hook: str, error: str) -> list[Command]:
        if hook not in self._hooks:
            return []
        if error:
            self._extra["error"] = error
        return [Consult(next(self._context.numbers), hook, self._stream())]
