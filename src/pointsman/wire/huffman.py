"""The Huffman code of HPACK (RFC 7541, appendix B), decoding only.

Pure.  The code is canonical, so the lengths of its 257 codes say all of it.  A byte at a time: what a byte does in a
state of the code tree is found out once, when it first occurs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

CACHED_SIZE = 256  # bytes; longer strings are decoded anew each time, so that the cache stays under 2 MiB
_LENGTHS: Final = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28,
    28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7,
    8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19,
    13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
    28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21,
    22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
    22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25,
    25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
)  # fmt: skip
_END_OF_STRING = 256


class HuffmanError(ValueError):
    """No string of RFC 7541 5.2."""


def _tree() -> tuple[list[list[int]], frozenset[int]]:
    """Children of every inner node (inner nodes count from 0, a leaf is ~symbol), and where a string may end."""
    nodes = [[0, 0]]
    code = previous = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_LENGTHS)):
        code <<= length - previous
        previous = length
        at = 0
        for bit in range(length - 1, 0, -1):
            side = code >> bit & 1
            if nodes[at][side] == 0:
                nodes.append([0, 0])
                nodes[at][side] = len(nodes) - 1
            at = nodes[at][side]
        nodes[at][code & 1] = ~symbol
        code += 1
    ends, at = {0}, 0
    for _ in range(7):  # padding: fewer than eight bits, all of them ones
        at = nodes[at][1]
        ends.add(at)
    return nodes, frozenset(ends)


_NODES, _ENDS = _tree()
_steps: dict[int, tuple[bytes, int]] = {}
"""For node * 256 + byte: what it emits, and the node after it.  At most 65,536 entries."""


def _step(key: int) -> tuple[bytes, int]:
    node, byte = divmod(key, 256)
    emitted = bytearray()
    for bit in range(7, -1, -1):
        node = _NODES[node][byte >> bit & 1]
        if node < 0:
            symbol, node = ~node, 0
            if symbol == _END_OF_STRING:
                raise HuffmanError("the end-of-string symbol stands in a string")
            emitted.append(symbol)
    step = _steps[key] = bytes(emitted), node
    return step


def _decode(data: bytes) -> bytes:
    node = 0
    parts = []
    steps = _steps
    for byte in data:
        key = node * 256 + byte
        emitted, node = steps.get(key) or _step(key)
        parts.append(emitted)
    if node not in _ENDS:
        raise HuffmanError("the padding is no prefix of the end-of-string symbol")
    return b"".join(parts)


_decode_cached = lru_cache(maxsize=4096)(_decode)


def decode(data: bytes) -> bytes:
    """Raises HuffmanError."""
    return _decode_cached(data) if len(data) <= CACHED_SIZE else _decode(data)
