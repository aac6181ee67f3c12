"""A WebSocket somebody listens to: messages are shown in order, changed, dropped, and never held beyond a bound."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conformance.websocket_vectors import Ear, frame

from pointsman.engine import rebuild_websocket
from pointsman.engine.events import Received, Side
from pointsman.engine.messages import HttpFlow, Subject
from pointsman.engine.rebuild import HELD_LIMIT, LINGER
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


def close(writer: MessageWriter, code: int) -> bytes:
    return writer.control(Control(Opcode.CLOSE, code.to_bytes(2, "big"), KEY))


def codes(got: list[Piece | Control]) -> list[int]:
    return [int.from_bytes(one.payload[:2], "big") for one in got if isinstance(one, Control)]


FAULTS = {
    "no frame": (b"\xff" * 20, 1002),
    "no text": (b"\x81\x82" + bytes(4) + b"\xc3\x28", 1007),
    "no text, in a message that has no end yet": (b"\x01\x83" + bytes(4) + b"a\xf4\x90", 1007),
    "no text, in a frame that has no end yet": (b"\x81\x90" + bytes(4) + b"a\xf4\x90", 1007),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_who_breaks_a_rule_hears_what_the_other_has_still_to_say_and_then_why(fault: str) -> None:
    junk, code = FAULTS[fault]
    chat = Chat()
    chat.say(b"one")
    chat.rig.app_sends(junk)
    asked, told = chat.origin_got()
    assert isinstance(asked, Piece) and asked.data == b"one"
    assert codes([told]) == [code]
    assert chat.app_got() == []

    chat.rig.app_sends(junk + chat.up.piece(Piece(True, b"two", True, False, KEY)))
    chat.reply(b"echo")
    chat.rig.origin_sends(close(chat.down, 1000))
    echo, last = chat.app_got()
    assert isinstance(echo, Piece) and echo.data == b"echo"
    assert codes([last]) == [code]
    assert chat.rig.closed and chat.origin_got() == []
    assert chat.seen == [(True, b"one"), (False, b"echo")]
    assert (chat.rig.records[1].error or "").startswith("refused: the WebSocket has ")


def test_an_origin_that_breaks_a_rule_is_told_the_same_way() -> None:
    chat = Chat()
    chat.rig.origin_sends(b"\xff" * 20)
    assert codes(chat.app_got()) == [1002] and chat.origin_got() == []
    chat.rig.app_sends(close(chat.up, 1002))
    assert codes(chat.origin_got()) == [1002] and chat.rig.closed


@pytest.mark.parametrize("how", ["silence", "the end", "a fault of its own", "a close frame before"])
def test_nobody_waits_for_who_has_nothing_more_to_say(how: str) -> None:
    chat = Chat()
    if how == "a close frame before":
        chat.rig.origin_sends(close(chat.down, 1001))
    chat.rig.app_sends(b"\xff" * 20)
    if how == "silence":
        chat.rig.advance(LINGER - 0.1)
        assert not chat.rig.closed
        chat.rig.advance(0.1)
    elif how == "the end":
        chat.rig.ends(ORIGIN)
    elif how == "a fault of its own":
        chat.rig.origin_sends(b"\xff" * 20)
    assert chat.rig.closed
    assert codes(chat.app_got()) == [1001 if how == "a close frame before" else 1002]
    assert codes(chat.origin_got()) == [1002]


def test_behind_a_close_frame_nothing_counts() -> None:
    """RFC 6455 5.5.1: nor would it for who gets it."""
    chat = Chat()
    chat.rig.app_sends(close(chat.up, 1000) + b"\xff" * 20)
    chat.say(b"late")
    assert codes(chat.origin_got()) == [1000] and chat.seen == []
    chat.rig.origin_sends(close(chat.down, 1000))
    assert codes(chat.app_got()) == [1000]
    chat.rig.ends(ORIGIN)
    chat.rig.ends(APP)
    assert chat.rig.records[1].error is None


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


def turns(masks: bool) -> list[bytes]:
    return [
        frame(masks, 1, b"text"), frame(masks, 2, b"\xff" * 300), frame(masks, 1, "ä".encode()[:1], final=False),
        frame(masks, 0, "ä".encode()[1:]), frame(masks, 0, b"", final=False), frame(masks, 9, b"ping"),
        frame(masks, 8, b"\x03\xe8"), frame(masks, 1, b"\xff"), frame(masks, 3, b"?"), frame(not masks, 1, b"x"),
    ]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([APP, ORIGIN]), st.integers(0, 11)), max_size=12), st.booleans(),
       st.integers(1, 400))  # fmt: skip
def test_whatever_the_ends_say_each_gets_whole_frames_one_close_frame_at_most_and_an_end(
    script: list[tuple[Side, int]], asks: bool, cut: int
) -> None:
    chat = Chat(asks=asks)
    ended: set[Side] = set()
    for side, turn in script:
        data = turns(side is APP)[turn] if turn < 10 and side not in ended else b""
        for at in range(0, len(data), cut):
            chat.rig.event(Received(side, data[at : at + cut]))
        if turn == 10:
            ended.add(side)
            chat.rig.ends(side)
        elif turn == 11 and chat.rig.consults:
            chat.rig.answer()
    broken = any((record.error or "").startswith("refused") for record in chat.rig.records)
    chat.rig.advance(LINGER)
    for side in (APP, ORIGIN):
        heard = list(Ear(masked=side is ORIGIN).feed(chat.rig.take(side)))
        assert [opcode for opcode, _ in heard].count(8) <= 1
        assert all(opcode != 8 for opcode, _ in heard[:-1]), "nothing comes after a close frame"
        assert all(payload.decode() is not None for opcode, payload in heard if opcode == 1)
        chat.rig.ends(side)
    while chat.rig.consults and not chat.rig.over:
        chat.rig.answer()
    chat.rig.advance(2 * LINGER)
    assert chat.rig.over
    told = [record for record in chat.rig.records if record.method == "WEBSOCKET"]
    assert len(told) == 1 and (not broken or told[0].error is not None)
