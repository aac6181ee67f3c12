"""HPACK written: another implementation's decoder reads the same fields, block after block."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.wire.hpack import Decoder, Field
from pointsman.wire.hpack_encoder import Encoder

hpack = pytest.importorskip("hpack", reason="the oracle of these tests, comes with h2")

NAMES = st.sampled_from([b":path", b":status", b"cookie", b"x-a", b"x-b", b"authorization", b"content-type"])
FIELDS = st.lists(st.tuples(NAMES, st.one_of(st.sampled_from([b"", b"200", b"/", b"v"]), st.binary(max_size=60))))
BLOCKS = st.lists(st.one_of(FIELDS, st.sampled_from([0, 40, 200, 4096, 10_000])), max_size=30)


@settings(max_examples=300, deadline=None)
@given(BLOCKS)
def test_what_is_written_is_what_two_decoders_read(blocks: list[list[Field] | int]) -> None:
    encoder, ours, theirs = Encoder(), Decoder(), hpack.Decoder()
    theirs.max_header_list_size = 1 << 20
    for block in blocks:
        if isinstance(block, int):
            encoder.resize(block)
            continue
        data = encoder.encode(block)
        assert list(ours.decode(data)) == block
        assert [tuple(one) for one in theirs.decode(data, raw=True)] == block


def test_fields_that_come_again_are_an_index_each() -> None:
    encoder = Encoder()
    fields = [(b":method", b"GET"), (b"x-a", b"v"), (b"cookie", b"a=1")]
    assert len(encoder.encode(fields)) > 3
    assert len(encoder.encode(fields)) == 3


def test_what_nobody_may_index_is_never_indexed_and_stays_so_on_its_way() -> None:
    first, second, decoder = Encoder(), Encoder(), Decoder()
    block = first.encode([(b"authorization", b"secret"), (b"x-token", b"t")], secret={b"x-token"})
    fields = decoder.decode(block)
    assert decoder.secret == {b"authorization", b"x-token"}
    again = [second.encode(fields, decoder.secret) for _ in range(2)]
    assert again[0] == again[1] == block
