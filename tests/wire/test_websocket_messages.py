"""WebSocket messages: what is written is read again, however cut and compressed; bombs come out in small pieces."""

from __future__ import annotations

import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.wire.websocket_frames import FrameError, FrameReader, Opcode, masked
from pointsman.wire.websocket_messages import (
    PIECE,
    Control,
    Deflate,
    MessageReader,
    MessageWriter,
    Piece,
    TextError,
    agreed,
)

KEY = b"\x01\x02\x03\x04"
DEFLATES = st.sampled_from([None, Deflate(), Deflate(takes_over=False), Deflate(window_bits=9), Deflate(True, 8)])
PARTS = st.lists(st.binary(max_size=300), min_size=1, max_size=4)
TEXT_PARTS = st.tuples(st.text(max_size=300), st.integers(1, 300)).map(
    lambda one: [one[0].encode()[at : at + one[1]] for at in range(0, len(one[0].encode()) or 1, one[1])]
)
MESSAGES = st.lists(
    st.tuples(st.just(False), st.booleans(), PARTS) | st.tuples(st.just(True), st.booleans(), TEXT_PARTS), max_size=6
)
Message = tuple[bool, bytes]


def read_all(reader: MessageReader, data: bytes, cut: int) -> tuple[list[Message], list[Control]]:
    buffer, messages, controls, current = bytearray(), [], [], b""
    for at in range(0, len(data), cut):
        buffer += data[at : at + cut]
        while (found := reader.take(buffer)) is not None:
            if isinstance(found, Control):
                controls.append(found)
                continue
            assert len(found.data) <= PIECE
            current += found.data
            if found.is_last:
                messages.append((found.is_text, current))
                current = b""
    assert not buffer
    return messages, controls


@settings(max_examples=200, deadline=None)
@given(MESSAGES, DEFLATES, st.booleans(), st.integers(1, 500))
def test_what_is_written_is_read_again(
    messages: list[tuple[bool, bool, list[bytes]]], deflate: Deflate | None, is_masked: bool, cut: int
) -> None:
    writer, reader = MessageWriter(masked=is_masked, deflate=deflate), MessageReader(masked=is_masked, deflate=deflate)
    data = b""
    for is_text, compressed, parts in messages:
        for at, part in enumerate(parts):
            data += writer.piece(Piece(is_text, part, at == len(parts) - 1, compressed, KEY))
            data += writer.control(Control(Opcode.PING, b"between", KEY))
    got, controls = read_all(reader, data, cut)

    assert got == [(is_text, b"".join(parts)) for is_text, _, parts in messages]
    assert all(one.payload == b"between" for one in controls)
    assert list(FrameReader(masked=is_masked).feed(data)) or not data if deflate is None else True


@given(st.binary(max_size=40), st.integers(0, 50))
def test_a_mask_is_the_same_byte_by_byte(data: bytes, at: int) -> None:
    assert masked(data, KEY, at) == bytes(byte ^ KEY[(at + place) % 4] for place, byte in enumerate(data))


def test_a_bomb_comes_out_in_pieces() -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = deflater.compress(bytes(50_000_000)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    payload = data.removesuffix(b"\x00\x00\xff\xff")
    buffer = bytearray(bytes((0xC2, 127)) + len(payload).to_bytes(8, "big") + payload)
    reader, total = MessageReader(masked=False, deflate=Deflate()), 0
    while True:
        piece = reader.take(buffer)
        assert isinstance(piece, Piece) and len(piece.data) <= PIECE
        total += len(piece.data)
        if piece.is_last:
            break
    assert total == 50_000_000


@pytest.mark.parametrize(
    "frame",
    [
        b"\x83\x80" + KEY, b"\x81\x00", b"\xa1\x80" + KEY, b"\xc1\x80" + KEY, b"\x09\x80" + KEY, b"\x80\x80" + KEY,
        b"\x89\xfe\x00\x7e" + KEY, b"\x81\xff\x80" + bytes(7) + KEY, b"\x01\x80" + KEY + b"\x81\x80" + KEY,
    ],
)  # fmt: skip
def test_what_is_no_frame_is_an_error(frame: bytes) -> None:
    reader, buffer = MessageReader(masked=True, deflate=None), bytearray(frame + bytes(140))
    with pytest.raises(FrameError):
        for _ in range(3):
            reader.take(buffer)


def test_what_is_not_deflated_is_an_error() -> None:
    reader = MessageReader(masked=False, deflate=Deflate())
    with pytest.raises(FrameError):
        reader.take(bytearray(b"\xc1\x04\xff\xff\xff\xff"))


def text_frames(*parts: bytes) -> bytes:
    heads = [(0x80 if at == len(parts) - 1 else 0) | (0 if at else Opcode.TEXT) for at in range(len(parts))]
    return b"".join(bytes((head, len(part))) + part for head, part in zip(heads, parts, strict=True))


@pytest.mark.parametrize("cut", [1, 2, 1000])
@pytest.mark.parametrize(
    "parts",
    [
        [b"\xc3"], [b"a\xc3", b""], [b"\xc3", b"\x28"], [b"\xe2\x82", b"x\xac"], [b"\xed\xa0\x80"], [b"\xc0\xaf"],
        [b"\xf4\x90\x80\x80"], [b"\xf5"], [b"ok", b"\x80"], [b"\xf8\x88\x80\x80\x80"],
    ],
)  # fmt: skip
def test_a_text_that_is_not_utf_8_is_an_error_of_its_own(parts: list[bytes], cut: int) -> None:
    with pytest.raises(TextError) as error:
        read_all(MessageReader(masked=False, deflate=None), text_frames(*parts), cut)
    assert error.value.code == 1007


@pytest.mark.parametrize("cut", [1, 2, 3, 1000])
def test_a_character_may_be_cut_anywhere(cut: int) -> None:
    text = "κόσμε \U0010ffff \ufffe \x00 ".encode()
    parts = [text[at : at + cut] for at in range(0, len(text), cut)]
    messages, _ = read_all(MessageReader(masked=False, deflate=None), text_frames(*parts) + text_frames(text), cut)
    assert messages == [(True, text), (True, text)]


def test_no_text_is_found_before_the_rest_of_it_comes() -> None:
    reader = MessageReader(masked=False, deflate=None)
    with pytest.raises(TextError):
        reader.take(bytearray(b"\x01\x7da\xf4\x90"))


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ("", (None, None)),
        ("permessage-deflate", (Deflate(), Deflate())),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits=10",
         (Deflate(True, 10), Deflate(False, 15))),
    ],
)  # fmt: skip
def test_what_the_ends_agreed_on(extensions: str, expected: tuple[Deflate | None, Deflate | None]) -> None:
    assert agreed(extensions) == expected


@pytest.mark.parametrize(
    "extensions", ["x-other", "permessage-deflate, x-other", "permessage-deflate; server_max_window_bits=99"]
)
def test_extensions_that_nobody_knows(extensions: str) -> None:
    with pytest.raises(ValueError, match="extensions"):
        agreed(extensions)


def deflated(*parts: bytes, end: int = zlib.Z_FINISH) -> bytes:
    """Each part in a stream of its own that ends with a final block."""
    streams = []
    for part in parts:
        deflater = zlib.compressobj(wbits=-15)
        streams.append(deflater.compress(part) + deflater.flush(end))
    return b"".join(streams)


@pytest.mark.parametrize(
    "behind", [b"\0", b"", b"\xff" * 9, bytes(5000)], ids=["as RFC 7692 says", "none", "junk", "long"]
)
def test_a_final_block_ends_and_never_spins(behind: bytes) -> None:
    """RFC 7692 7.2.3.4: a message may be made of blocks that each end a stream, and a zero byte."""
    payload = deflated(b"first, ", b"second") + behind
    reader = MessageReader(masked=False, deflate=Deflate())
    buffer = bytearray(b"\xc2\x7f" + len(payload).to_bytes(8, "big") + payload)
    text = b""

    with suppress(FrameError):  # which junk is, as it is no deflated data
        while (piece := reader.take(buffer)) is not None:
            assert isinstance(piece, Piece)
            text += piece.data
    assert text == b"first, second" or behind == b"\xff" * 9
    assert not buffer
