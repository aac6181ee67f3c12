"""What somebody outside wants a WebSocket or a stream to carry: in order, between messages, bounded, and then gone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from pointsman.engine.events import Congested, Consulted, Drained, Side
from pointsman.engine.injection import INJECT, WAITING_BYTES, WAITING_LIMIT, Injected, InjectionError, Injections
from pointsman.engine.messages import HttpFlow, Subject, TcpMessage
from pointsman.testing.memory import APP, ORIGIN, Rig
from pointsman.wire.websocket_frames import Opcode
from pointsman.wire.websocket_messages import Control, Deflate, MessageReader, MessageWriter, Piece

KEY = b"\x01\x02\x03\x04"
OPEN = b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
WEBSOCKET = frozenset(("websocket_start", "websocket_message", "websocket_end"))
TCP = frozenset(("tcp_start", "tcp_message", "tcp_end"))


class Talk:
    """A connection that asks for injections, and a host that answers as one does."""

    def __init__(self, hooks: frozenset[str], change: Callable[[Subject], object] | None = None) -> None:
        self.rig = Rig('default = "intercept"', destination=("192.0.2.1", 80), hooks=hooks | {INJECT})
        self.seen: list[tuple[bool, bytes, bool]] = []
        self.flow: Subject | None = None
        self.wakes = 0
        self._change = change

    def answer(self) -> None:
        """Everything but what waits for an injection."""
        while self.rig.consults:
            consult = self.rig.consults.pop(0)
            if consult.hook == INJECT:
                self.flow = consult.subject
                if self._injections.wait(partial(self._wake, consult.number)):
                    self.rig.event(Consulted(consult.number))
                continue
            if consult.hook.endswith("_message"):
                subject = consult.subject
                assert isinstance(subject, HttpFlow | TcpMessage)
                message = subject.messages[-1]
                self.seen.append((message.from_client, message.content, message.injected))
                if self._change is not None:
                    self._change(subject)
            self.rig.event(Consulted(consult.number))

    def _wake(self, number: int) -> None:
        self.wakes += 1
        self.rig.event(Consulted(number))

    @property
    def _injections(self) -> Injections:
        if isinstance(self.flow, HttpFlow):
            assert self.flow.websocket is not None and self.flow.websocket.injections is not None
            return self.flow.websocket.injections
        assert isinstance(self.flow, TcpMessage) and self.flow.injections is not None
        return self.flow.injections

    def inject(self, *, to_client: bool, content: bytes, is_text: bool = True) -> None:
        self._injections.add(Injected(to_client, content, is_text, KEY))
        self.answer()


class Chat(Talk):
    def __init__(self, extensions: str = "", change: Callable[[Subject], object] | None = None) -> None:
        super().__init__(WEBSOCKET, change)
        self.rig.app_sends(OPEN)
        field = f"Sec-WebSocket-Extensions: {extensions}\r\n".encode() if extensions else b""
        self.rig.origin_sends(SWITCH + field + b"\r\n")
        self.answer()
        self.rig.take(APP), self.rig.take(ORIGIN)
        deflate = Deflate() if extensions else None
        self.up, self.down = MessageWriter(masked=True, deflate=deflate), MessageWriter(masked=False, deflate=deflate)
        self._readers = {
            ORIGIN: MessageReader(masked=True, deflate=deflate),
            APP: MessageReader(masked=False, deflate=deflate),
        }
        self._buffers = {APP: bytearray(), ORIGIN: bytearray()}

    def say(self, text: bytes, *, last: bool = True) -> None:
        self.rig.app_sends(self.up.piece(Piece(True, text, last, True, KEY)))
        self.answer()

    def got(self, side: Side) -> list[Piece | Control]:
        buffer, found = self._buffers[side], []
        buffer += self.rig.take(side)
        while (one := self._readers[side].take(buffer)) is not None:
            found.append(one)
        return found

    def texts(self, side: Side) -> list[bytes]:
        return [one.data for one in self.got(side) if isinstance(one, Piece)]


@pytest.mark.parametrize("extensions", ["", "permessage-deflate"])
def test_an_injected_message_is_shown_and_then_sent_to_either_side(extensions: str) -> None:
    chat = Chat(extensions)
    chat.say(b"before")
    chat.inject(to_client=True, content=b"to the app")
    chat.inject(to_client=False, content=b"\x00\xff", is_text=False)
    chat.say(b"after")
    assert chat.texts(APP) == [b"to the app"]
    one, two, three = chat.got(ORIGIN)
    assert isinstance(one, Piece) and isinstance(two, Piece) and isinstance(three, Piece)
    assert (one.data, two.data, three.data) == (b"before", b"\x00\xff", b"after")
    assert (two.is_text, two.key, two.is_last) == (False, KEY, True)
    assert chat.seen == [
        (True, b"before", False), (False, b"to the app", True), (True, b"\x00\xff", True), (True, b"after", False),
    ]  # fmt: skip


def test_it_may_be_changed_and_dropped_like_any_other() -> None:
    def change(flow: Subject) -> None:
        assert isinstance(flow, HttpFlow)
        flow.messages[-1].dropped = b"no" in flow.messages[-1].content
        flow.messages[-1].content += b"!"

    chat = Chat(change=change)
    for text in (b"no", b"yes"):
        chat.inject(to_client=True, content=text)
    assert chat.texts(APP) == [b"yes!"]


def test_it_does_not_break_into_a_message_that_comes_in_fragments() -> None:
    chat = Chat()
    chat.say(b"hel", last=False)
    chat.inject(to_client=False, content=b"between")
    chat.say(b"lo")
    assert chat.texts(ORIGIN) == [b"between", b"hello"]


def test_it_waits_for_the_end_of_a_message_that_goes_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.engine.rebuild_websocket.MESSAGE_LIMIT", 10)
    chat = Chat()
    chat.say(b"x" * 20, last=False)
    chat.inject(to_client=False, content=b"injected")
    assert chat.texts(ORIGIN) == [b"x" * 20]
    chat.say(b"y")
    assert chat.texts(ORIGIN) == [b"y", b"injected"]


def test_nothing_follows_a_close_of_the_side_that_would_have_said_it() -> None:
    chat = Chat()
    chat.rig.app_sends(chat.up.control(Control(Opcode.CLOSE, (1001).to_bytes(2, "big") + b"bye", KEY)))
    chat.answer()
    chat.inject(to_client=False, content=b"late")
    assert [type(one) for one in chat.got(ORIGIN)] == [Control]
    assert isinstance(chat.flow, HttpFlow) and chat.flow.websocket is not None
    socket = chat.flow.websocket
    assert (socket.closed_by_client, socket.close_code, socket.close_reason) == (True, 1001, "bye")
    chat.inject(to_client=True, content=b"still open this way")
    assert chat.texts(APP) == [b"still open this way"]


def test_the_end_of_the_connection_is_the_end_of_it() -> None:
    chat = Chat()
    assert isinstance(chat.flow, HttpFlow) and chat.flow.websocket is not None
    ends = [chat.flow.websocket.timestamp_end]
    for side in (APP, ORIGIN):
        chat.rig.ends(side)
    ends.append(chat.flow.websocket.timestamp_end)
    assert ends[0] is None and ends[1] is not None
    with pytest.raises(InjectionError, match="over"):
        chat.inject(to_client=True, content=b"x")


def test_many_at_once_keep_their_order_and_are_asked_for_once_each_time() -> None:
    chat = Chat()
    for number in range(50):
        chat._injections.add(Injected(True, b"%d" % number, True, KEY))
    chat.answer()
    assert chat.texts(APP) == [b"%d" % number for number in range(50)]
    assert chat.wakes == 1
    assert len([one for one in chat.rig.consults if one.hook == INJECT]) == 0


def test_what_waits_is_bounded_by_number_and_by_size() -> None:
    injections = Injections()
    for _ in range(WAITING_LIMIT):
        injections.add(Injected(True, b""))
    with pytest.raises(InjectionError, match="wait already"):
        injections.add(Injected(True, b""))
    injections.take(())
    injections.add(Injected(True, b"x" * WAITING_BYTES))
    injections.take(())
    with pytest.raises(InjectionError):
        injections.add(Injected(True, b"x"))


def test_pieces_are_injected_into_a_stream_behind_what_waits() -> None:
    def change(subject: Subject) -> None:
        assert isinstance(subject, TcpMessage)
        subject.content = subject.content.upper()

    talk = Talk(TCP, change)
    talk.rig.app_sends(b"\x01\x02 hello")
    talk.answer()
    talk.inject(to_client=False, content=b" injected")
    talk.inject(to_client=True, content=b"greeting")
    assert talk.rig.take(ORIGIN) == b"\x01\x02 HELLO INJECTED"
    assert talk.rig.take(APP) == b"GREETING"
    assert talk.seen[1:] == [(True, b" injected", True), (False, b"greeting", True)]
    talk.rig.ends(APP)
    talk.inject(to_client=False, content=b"too late")
    assert talk.rig.take(ORIGIN) == b""


def test_a_stream_whose_pieces_nobody_sees_can_be_injected_into_too() -> None:
    talk = Talk(frozenset(("tcp_start",)))
    talk.rig.app_sends(b"\x01\x02")
    talk.answer()
    talk.inject(to_client=True, content=b"x")
    assert talk.rig.take(APP) == b"x"


@pytest.mark.parametrize("kind", ["websocket", "tcp"])
def test_what_is_injected_waits_while_its_side_does_not_take_what_it_has(kind: str) -> None:
    talk = Chat() if kind == "websocket" else Talk(frozenset(("tcp_start",)))
    if kind == "tcp":
        talk.rig.app_sends(b"\x01")
        talk.answer()
    talk.rig.event(Congested(APP))
    for _ in range(WAITING_LIMIT + 1):
        talk.inject(to_client=True, content=b"x")
        if len(talk._injections) == WAITING_LIMIT:
            break
    assert talk.rig.take(APP) == b"" and len(talk._injections) == WAITING_LIMIT
    with pytest.raises(InjectionError):
        talk.inject(to_client=True, content=b"x")
    talk.rig.event(Drained(APP))
    talk.answer()
    assert talk.rig.take(APP).count(b"x") == WAITING_LIMIT
    talk.inject(to_client=True, content=b"on")
    assert talk.rig.take(APP).endswith(b"on")
