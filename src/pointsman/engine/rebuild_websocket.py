"""A WebSocket whose messages somebody listens to: read, shown, changed or dropped, and written anew.

Fragments are put together up to a bound; a message beyond it goes on in parts, and nobody is asked about it.  One
message is asked about at a time, so that listeners see both directions in one order.  What listeners inject is shown
like any other message, and goes out between two messages of the same direction.  Whoever breaks a rule is not heard any
more; what the other end has still to say goes to it before our close frame does, as if that end had found the fault.
"""

from __future__ import annotations

from collections.abc import Collection

from pointsman.engine.commands import Command, Consult, End, Send
from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.injection import INJECT, Injections
from pointsman.engine.messages import FlowError, HttpFlow, WebSocketData, WebSocketMessage
from pointsman.engine.pauses import held_back
from pointsman.engine.rebuild import HELD_LIMIT, LINGER, Context
from pointsman.engine.websocket import WebSocketObserver
from pointsman.wire.websocket_frames import FrameError, Opcode
from pointsman.wire.websocket_messages import Control, Deflate, MessageReader, MessageWriter, Piece

HOOKS = frozenset(("websocket_start", "websocket_message", "websocket_end"))
MESSAGE_LIMIT = 16 * 1024 * 1024  # bytes of a message that is put together
REMEMBERED = 100  # messages that stay in `HttpFlow.messages`
REMEMBERED_BYTES = MESSAGE_LIMIT


class WebSocketRebuild:
    def __init__(
        self, flow: HttpFlow, hooks: frozenset[str], context: Context, deflate: tuple[Deflate | None, Deflate | None],
        observer: WebSocketObserver, congested: Collection[Side],
    ) -> None:  # fmt: skip
        """`flow`: of the exchange that opened it; `congested`: the sides that are, as it changes."""
        self._congested = congested
        self.finished = False
        self.failure: str | None = None
        self.resets = False
        self.deadline: float | None = None
        self._flow = flow
        self._data = flow.websocket = WebSocketData()
        self._injections: Injections | None = None
        self._injection_asked = 0
        """Number of the question what is to be injected."""
        self._hooks = hooks
        self._context = context
        self._observer: WebSocketObserver | None = observer
        up, down = deflate
        self._readers = {
            Side.DOWNSTREAM: MessageReader(masked=True, deflate=up),
            Side.UPSTREAM: MessageReader(masked=False, deflate=down),
        }
        self._writers = {
            Side.UPSTREAM: MessageWriter(masked=True, deflate=up),
            Side.DOWNSTREAM: MessageWriter(masked=False, deflate=down),
        }
        self._waiting = {side: bytearray() for side in Side}
        self._gathered = {side: bytearray() for side in Side}
        self._in_parts: set[Side] = set()
        """The message of this side is beyond the bound."""
        self._silenced: set[Side] = set()
        """These have sent their last: a close frame, or what breaks a rule."""
        self._closed: set[Side] = set()
        """Whose close frame has gone on."""
        self._fault: FrameError | None = None
        self._broken_by: Side | None = None
        self._asked: tuple[int, Side, Piece] | None = None
        self._paused: set[Side] = set()
        self._ended: set[Side] = set()
        self._told_end: set[Side] = set()
        self._out: list[Command] = []
        self._done: list[Exchange] = []
        self._now = 0.0

    def start(self) -> None:
        self._tell("websocket_start")
        if INJECT in self._context.hooks():
            self._injections = self._data.injections = Injections()
            self._ask_for_injections()

    def receive(self, side: Side, data: bytes, now: float) -> None:
        self._now = now
        if self._observer is not None:
            self._observer.receive(side, data)
        if side not in self._silenced:
            self._waiting[side] += data
            self._go_on()

    def end(self, side: Side, now: float) -> None:
        self._now = now
        self._ended.add(side)
        self._go_on()

    def drained(self, now: float) -> None:
        self._now = now
        self._go_on()

    def consulted(self, number: int, now: float) -> None:
        self._now = now
        if self._injections is not None and number == self._injection_asked:
            self._injection_asked = 0
            self._go_on()
            return
        if self._asked is None or self._asked[0] != number:
            return
        _, side, piece = self._asked
        self._asked = None
        message = self._data.messages[-1]
        if self._flow.killed:
            self.failure, self.resets = "killed by an addon", True
        elif not message.dropped:
            self._write(side, Piece(message.is_text, message.content, True, piece.compressed, piece.key))
        self._go_on()

    def late(self, now: float) -> None:
        """The other end has not answered the close frame that it got for the one who broke a rule."""
        self._now = now
        if self._broken_by is not None:
            self._give_up(self._broken_by)

    def cut(self, now: float, why: str) -> None:
        if self._observer is not None:
            told = self._observer.finish(now, why, refused=self._refusal())
            self._observer = None
            self._done.append(told)
            if told.error is not None:
                self._flow.error = FlowError.at(told.error, self._context.wall(now))
            self._data.timestamp_end = self._context.wall(now)
            if self._injections is not None:
                self._injections.close()
            self._tell("websocket_end")

    def commands(self) -> list[Command]:
        out, self._out = self._out, []
        return out

    def take(self) -> list[Exchange]:
        done, self._done = self._done, []
        return done

    def _go_on(self) -> None:
        moved = True
        while moved and self.failure is None:
            moved = self._inject()
            for side in Side:
                if side in self._silenced or self._asked is not None or self.failure is not None:
                    continue
                if self._waiting[side] or self._readers[side].has_more:
                    moved |= self._read(side)
        self._hold_back()
        for side in self._ended - self._told_end:
            if self._asked is None and self.failure is None:
                if self._broken_by is side.other:
                    self._give_up(side.other)
                    return
                self._told_end.add(side)
                self._out.append(End(side.other))
        self.finished = len(self._told_end) == 2

    def _read(self, side: Side) -> bool:
        try:
            found = self._readers[side].take(self._waiting[side])
        except FrameError as error:
            self._broke(side, error)
            return False
        if found is None:
            return False
        if isinstance(found, Piece):
            self._piece(side, found)
            return True
        if found.opcode is not Opcode.CLOSE:
            self._out.append(Send(side.other, self._writers[side.other].control(found)))
            return True
        self._silence(side)
        if self._broken_by is side.other:
            self._give_up(side.other)
            return False
        self._closed.add(side)
        self._note_close(side, found.payload)
        self._out.append(Send(side.other, self._writers[side.other].control(found)))
        return True

    def _broke(self, side: Side, error: FrameError) -> None:
        self._silence(side)
        self._fault = self._fault or error
        was_broken, self._broken_by = self._broken_by is not None, side
        self._say_close(side.other)
        if was_broken or side.other in self._closed or side.other in self._ended:
            self._give_up(side)
        else:
            self.deadline = self._now + LINGER

    def _give_up(self, side: Side) -> None:
        """On what may still come for this one, which broke a rule."""
        self._say_close(side)
        self.failure = self._refusal()

    def _refusal(self) -> str | None:
        return f"refused: the WebSocket has {self._fault}" if self._fault is not None else None

    def _say_close(self, to: Side) -> None:
        """Unless it got one, or FIN."""
        if to.other not in self._closed | self._told_end and self._fault is not None:
            self._closed.add(to.other)
            close = Control(Opcode.CLOSE, self._fault.code.to_bytes(2, "big"), None)
            self._out.append(Send(to, self._writers[to].control(close)))

    def _silence(self, side: Side) -> None:
        self._silenced.add(side)
        self._waiting[side].clear()

    def _piece(self, side: Side, piece: Piece) -> None:
        gathered = self._gathered[side]
        if side in self._in_parts:
            self._write(side, piece)
            if piece.is_last:
                self._in_parts.discard(side)
            return
        gathered += piece.data
        if len(gathered) > MESSAGE_LIMIT:
            self._in_parts.add(side)
            self._write(side, Piece(piece.is_text, bytes(gathered), piece.is_last, piece.compressed, piece.key))
            gathered.clear()
            if piece.is_last:
                self._in_parts.discard(side)
        elif piece.is_last:
            data = bytes(gathered)
            gathered.clear()
            self._message(side, piece, data)

    def _note_close(self, side: Side, payload: bytes) -> None:
        if self._data.closed_by_client is None:
            self._data.closed_by_client = side is Side.DOWNSTREAM
            self._data.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self._data.close_reason = payload[2:].decode("utf-8", "replace")

    def _ask_for_injections(self) -> None:
        self._injection_asked = next(self._context.numbers)
        self._out.append(Consult(self._injection_asked, INJECT, self._flow))

    def _inject(self) -> bool:
        """The next one that somebody wants sent, as if its sender had.  Whether there was one."""
        injections = self._injections
        if injections is None or self._injection_asked or self._asked is not None or self._in_parts:
            return False
        one = injections.take(self._congested)
        if one is None:
            if not injections and not injections.is_over:
                self._ask_for_injections()
            return False
        side = Side.UPSTREAM if one.to_client else Side.DOWNSTREAM
        if side not in self._silenced and side not in self._closed and side not in self._ended:
            self._message(side, Piece(one.is_text, b"", True, False, one.key), one.content, injected=True)
        return True

    def _message(self, side: Side, piece: Piece, data: bytes, *, injected: bool = False) -> None:
        messages = self._data.messages
        now = self._context.wall(self._now)
        messages.append(WebSocketMessage(side is Side.DOWNSTREAM, piece.is_text, data, now, injected=injected))
        while len(messages) > 1 and (
            len(messages) > REMEMBERED or sum(len(one.content) for one in messages) > REMEMBERED_BYTES
        ):
            del messages[0]
        if "websocket_message" not in self._hooks:
            self._write(side, Piece(piece.is_text, data, True, piece.compressed, piece.key))
            return
        number = next(self._context.numbers)
        self._asked = number, side, piece
        self._out.append(Consult(number, "websocket_message", self._flow))

    def _write(self, side: Side, piece: Piece) -> None:
        self._out.append(Send(side.other, self._writers[side.other].piece(piece)))

    def _hold_back(self) -> None:
        self._out += held_back(self._waiting, self._paused, HELD_LIMIT)

    def _tell(self, hook: str) -> None:
        if hook in self._hooks:
            self._out.append(Consult(next(self._context.numbers), hook, self._flow))
