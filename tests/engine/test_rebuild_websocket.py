"""A WebSocket somebody listens to: messages are shown in order, changed, dropped, and never held beyond a bound."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pointsman.engine import rebuild_websocket
from pointsman.engine.messages import HttpFlow, Subject
from pointsman.engine.rebuild import HELD_LIMIT
from pointsman.testing.memory import APP, ORIGIN, Rig
from pointsman.wire.websocket_frames import Opcode
from pointsman.wire.websocket_messages import Control, Deflate, MessageReader, MessageWriter, Piece

KEY = b"\x09\x08\x07\x06"
ALL = frozenset(("websocket_start", "websocket_message", "websocket_end"))
OPEN = b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Chat:
    """Both ends of it, after 101."""

    def __init__(
        self, change: Callable[[HttpFlow], object] | None = None, *, extensions: str = "", asks: bool = False
    ) -> None:
        self.heard: list[str] = []
        self.seen: list[tuple[bool, bytes]] = []

        def listener(hook: str, subject: Subject) -> None:
            assert isinstance(subject, HttpFlow)
            self.heard.append(hook)
            if hook == "websocket_message":
                self.seen.append((subject.messages[-1].from_client, subject.messages[-1].content))
                if change is not None:
                    change(subject)

        self.rig = Rig(
            'default = "intercept"', destination=("192.0.2.1", 80), hooks=ALL, listener=None if asks else listener
        )
        self.rig.app_sends(OPEN)
        field = f"Sec-WebSocket-Extensions: {extensions}\r\n".encode() if extensions else b""
        self.rig.origin_sends(
            b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + field + b"\r\n"
        )
        self.rig.take(APP), self.rig.take(ORIGIN)
        deflate = Deflate() if extensions else None
        self.up = MessageWriter(masked=True, deflate=deflate)
        self.down = MessageWriter(masked=False, deflate=deflate)
        self._at_origin = MessageReader(masked=True, deflate=deflate)
        self._at_app = MessageReader(masked=False, deflate=deflate)

    def say(self, text: bytes, *, last: bool = True) -> None:
        self.rig.app_sends(self.up.piece(Piece(True, text, last, True, KEY)))

    def reply(self, text: bytes, *, last: bool = True) -> None:
        self.rig.origin_sends(self.down.piece(Piece(True, text, last, True, None)))

    def origin_got(self) -> list[Piece | Control]:
        return self._got(self._at_origin, self.rig.take(ORIGIN))

    def app_got(self) -> list[Piece | Control]:
        return self._got(self._at_app, self.rig.take(APP))

    def _got(self, reader: MessageReader, data: bytes) -> list[Piece | Control]:
        buffer, found = bytearray(data), []
        while (one := reader.take(buffer)) is not None:
            found.append(one)
        return found


@pytest.mark.parametrize("extensions", ["", "permessage-deflate"])
def test_messages_pass_whole_and_fragments_are_put_together(extensions: str) -> None:
    chat = Chat(extensions=extensions)
    chat.say(b"hel", last=False)
    assert chat.origin_got() == []
    chat.say(b"lo")
    chat.reply(b"hi " * 100)
    (first,), (second,) = chat.origin_got(), chat.app_got()
    assert isinstance(first, Piece) and (first.data, first.is_last, first.is_text) == (b"hello", True, True)
    assert isinstance(second, Piece) and second.data == b"hi " * 100
    assert second.compressed == bool(extensions)
    assert chat.seen == [(True, b"hello"), (False, b"hi " * 100)]


def test_a_message_that_a_few_bytes_stand_for_comes_whole() -> None:
    chat = Chat(extensions="permessage-deflate")
    chat.say(bytes(1_000_000))
    assert b"".join(one.data for one in chat.origin_got() if isinstance(one, Piece)) == bytes(1_000_000)
    assert chat.seen == [(True, bytes(1_000_000))]


def test_a_listener_changes_or_drops() -> None:
    def change(flow: HttpFlow) -> None:
        flow.messages[-1].content = flow.messages[-1].content.upper()
        flow.messages[-1].dropped = b"NO" in flow.messages[-1].content

    chat = Chat(change, extensions="permessage-deflate")
    for text in (b"one", b"no", b"two"):
        chat.say(text)
    assert [one.data for one in chat.origin_got() if isinstance(one, Piece)] == [b"ONE", b"TWO"]


def test_control_frames_pass_between_fragments() -> None:
    chat = Chat()
    chat.say(b"a", last=False)
    chat.rig.app_sends(chat.up.control(Control(Opcode.PING, b"p", KEY)))
    (ping,) = chat.origin_got()
    assert isinstance(ping, Control) and (ping.opcode, ping.payload) == (Opcode.PING, b"p")


def test_while_a_listener_thinks_the_others_wait_in_their_order() -> None:
    chat = Chat(asks=True)
    chat.rig.consults.clear()  # websocket_start
    chat.say(b"one")
    chat.say(b"two")
    chat.rig.app_sends(bytes(HELD_LIMIT))
    assert chat.origin_got() == []
    assert chat.rig.paused == {APP}
    chat.rig.answer()
    assert [one.data for one in chat.origin_got() if isinstance(one, Piece)] == [b"one"]


def test_a_message_beyond_the_bound_goes_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_websocket, "MESSAGE_LIMIT", 10)
    chat = Chat(extensions="permessage-deflate")
    chat.say(b"12345678", last=False)
    chat.say(b"9abc", last=False)
    chat.say(b"def")
    pieces = [one for one in chat.origin_got() if isinstance(one, Piece)]
    assert [(one.data, one.is_last) for one in pieces] == [(b"123456789abc", False), (b"def", True)]
    assert chat.seen == []
    chat.say(b"next")
    assert chat.seen == [(True, b"next")]


def test_its_end_is_told_and_recorded() -> None:
    chat = Chat()
    chat.say(b"x")
    chat.rig.app_sends(chat.up.control(Control(Opcode.CLOSE, (1000).to_bytes(2, "big"), KEY)))
    chat.rig.origin_sends(chat.down.control(Control(Opcode.CLOSE, (1000).to_bytes(2, "big"), None)))
    chat.rig.ends(ORIGIN)
    chat.rig.ends(APP)

    assert chat.rig.closed
    assert chat.heard == ["websocket_start", "websocket_message", "websocket_end"]
    opened, told = chat.rig.records
    assert (opened.method, opened.status) == ("GET", 101)
    assert (told.method, told.error) == ("WEBSOCKET", None)
    assert told.note is not None and told.note.startswith("1 messages up")


def test_what_is_no_websocket_closes_both_ends_with_1002() -> None:
    chat = Chat()
    chat.rig.app_sends(b"\xff" * 20)
    for got in (chat.app_got(), chat.origin_got()):
        assert isinstance(got[-1], Control) and got[-1].payload == (1002).to_bytes(2, "big")
    assert chat.rig.closed


def test_a_killed_one_is_reset() -> None:
    def kill(flow: HttpFlow) -> None:
        flow.killed = True

    chat = Chat(kill)
    chat.say(b"x")
    assert chat.rig.aborted


def test_extensions_nobody_knows_make_it_pass_unread() -> None:
    chat = Chat(extensions="x-bzip")
    chat.rig.app_sends(b"\xc1\x81" + KEY + b"?")
    assert chat.rig.take(ORIGIN) == b"\xc1\x81" + KEY + b"?"
    assert chat.seen == []
