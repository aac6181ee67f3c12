"""HPACK against `hpack`, the decoder and encoder of python-hyper, and against what RFC 7541 calls an error."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.wire import huffman
from pointsman.wire.hpack import BLOCK_LIMIT, TABLE_LIMIT, Decoder, HpackError

hpack = pytest.importorskip("hpack", reason="the oracle of these tests, with h2 in the dev group")

NAMES = st.sampled_from([b":method", b":path", b"cookie", b"x-a", b"x-bb"]) | st.binary(min_size=1, max_size=20)
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([b"", b"GET", b"/"]) | st.binary(max_size=80)), max_size=8)
STEPS = st.lists(st.tuples(FIELDS, st.booleans(), st.sampled_from([None, None, 0, 64, 300, 4096, 65536])), max_size=12)


@given(STEPS)
def test_it_reads_what_another_encoder_writes_block_after_block(steps: list[tuple[list[tuple[bytes, bytes]], bool, int | None]]) -> None:  # fmt: skip # noqa: E501 - a type
    encoder, decoder = hpack.Encoder(), Decoder()
    for fields, coded, size in steps:
        if size is not None:
            encoder.header_table_size = size
        assert list(decoder.decode(encoder.encode(fields, huffman=coded))) == fields


@given(STEPS)
def test_a_block_that_comes_again_means_what_the_table_now_says(
    steps: list[tuple[list[tuple[bytes, bytes]], bool, int | None]],
) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for fields, coded, _ in steps:
        for _ in range(3):
            assert list(decoder.decode(encoder.encode(fields, huffman=coded))) == fields


@given(st.lists(st.binary(max_size=60), max_size=6))
@settings(max_examples=300)
def test_any_bytes_are_read_as_another_decoder_reads_them_or_refused(blocks: list[bytes]) -> None:
    """We may refuse less (what the fields mean is not asked) but never read something else."""
    ours, theirs = Decoder(), hpack.Decoder()
    theirs.max_allowed_table_size = TABLE_LIMIT
    for block in blocks:
        try:
            expected = [(bytes(name), bytes(value)) for name, value in theirs.decode(block, raw=True)]
        except (hpack.HPACKError, UnicodeDecodeError):
            with_errors(ours, block)
            return
        assert list(ours.decode(block)) == expected


def with_errors(decoder: Decoder, block: bytes) -> None:
    with suppress(HpackError):
        decoder.decode(block)


@given(st.binary(max_size=400))
def test_huffman_reads_what_another_coder_writes(text: bytes) -> None:
    from hpack.huffman import HuffmanEncoder
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

    assert huffman.decode(HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)) == text


@pytest.mark.parametrize(
    "coded", [b"\xff", b"\x1f\xff\xff\xff\xff", b"\x00", b"\xff\xff\xff\xff"], ids=["8 ones", "long", "zeros", "EOS"]
)
def test_padding_that_is_none_is_an_error(coded: bytes) -> None:
    with pytest.raises(huffman.HuffmanError):
        huffman.decode(coded)


@pytest.mark.parametrize(
    "block",
    [b"\x80", b"\xff\xff\xff\xff\xff\xff\xff", b"\xbe", b"\x40\x05ab", b"\x82\x20", b"\x3f\xe1\xff\xff\x7f", b"\x40"],
    ids=["index 0", "endless integer", "no such entry", "string too long", "late resize", "huge table", "nothing"],
)
def test_what_hpack_calls_an_error_is_one(block: bytes) -> None:
    with pytest.raises(HpackError):
        Decoder().decode(block)


def test_a_bomb_is_given_up_at_the_bound() -> None:
    """One entry of 4,000 bytes, named a hundred times in a hundred bytes."""
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x7f" + b"\xa1\x1e" + b"b" * 4000)
    assert decoder.table_size == 4000 + 1 + 32
    decoder.decode(b"\xbe" * 60)
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe" * (BLOCK_LIMIT // 4033 + 1))
