"""Write HPACK header blocks (RFC 7541): fields go in, the dynamic table follows what the peer's decoder does.

Pure, one encoder for each direction.  Strings are sent without Huffman's code: after the first block of a connection
nearly everything is an index.  Fields that must not be indexed on the way here are not indexed from here either
(7.1.3), nor are those that tell secrets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from pointsman.wire.hpack import DEFAULT_TABLE_SIZE, ENTRY_OVERHEAD, REMEMBERED, STATIC_TABLE, Field

SECRET = frozenset((b"authorization", b"proxy-authorization"))
_FIELDS: dict[Field, int] = {}
_NAMES: dict[bytes, int] = {}
for _index, _field in enumerate(STATIC_TABLE, 1):
    _FIELDS.setdefault(_field, _index)
    _NAMES.setdefault(_field[0], _index)


class Encoder:
    def __init__(self) -> None:
        self._table: deque[Field] = deque()
        self._inserted = 0
        """Fields that were ever put into the table; the newest has this number."""
        self._numbers: dict[Field, int] = {}
        self._names: dict[bytes, int] = {}
        self._size = 0
        self._limit = DEFAULT_TABLE_SIZE
        self._announce: list[int] = []
        self._remembered: dict[tuple[Field, ...], bytes] = {}

    def resize(self, limit: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; more than the default is not made use of."""
        limit = min(limit, DEFAULT_TABLE_SIZE)
        if limit != self._limit:
            self._limit = limit
            self._announce.append(limit)
            self._remembered.clear()
            self._evict(0)

    def encode(self, fields: Iterable[Field], secret: Collection[bytes] = SECRET) -> bytes:
        """Names in lower case.  `secret`: names of fields that nobody on the way may index."""
        whole = tuple(fields)
        known = self._remembered.get(whole)
        if known is not None and not self._announce:
            return known
        parts = []
        if self._announce:  # RFC 7541 4.2: the smallest one, then the last one
            for size in dict.fromkeys((min(self._announce), self._announce[-1])):
                parts.append(_integer(size, 5, 0x20))
            self._announce.clear()
        before = self._inserted
        parts += [self._field(field, secret) for field in whole]
        block = b"".join(parts)
        if self._inserted != before:
            self._remembered.clear()  # indexes have moved
        elif len(self._remembered) < REMEMBERED and len(block) <= 1024 and parts and parts[0][0] & 0xE0 != 0x20:
            self._remembered[whole] = block
        return block

    def _field(self, field: Field, secret: Collection[bytes]) -> bytes:
        name, value = field
        if name in secret or name in SECRET:
            return self._literal(0x10, 4, name, value)
        index = _FIELDS.get(field) or self._index(self._numbers.get(field))
        if index:
            return _integer(index, 7, 0x80)
        size = len(name) + len(value) + ENTRY_OVERHEAD
        if size > self._limit // 2:
            return self._literal(0x00, 4, name, value)
        block = self._literal(0x40, 6, name, value)
        self._insert(field, size)
        return block

    def _literal(self, pattern: int, prefix: int, name: bytes, value: bytes) -> bytes:
        index = _NAMES.get(name) or self._index(self._names.get(name))
        named = b"" if index else _string(name)
        return _integer(index, prefix, pattern) + named + _string(value)

    def _index(self, number: int | None) -> int:
        """0: it is not in the table."""
        if number is None or self._inserted - number >= len(self._table):
            return 0
        return len(STATIC_TABLE) + 1 + self._inserted - number

    def _insert(self, field: Field, size: int) -> None:
        self._evict(size)
        self._table.appendleft(field)
        self._size += size
        self._inserted += 1
        self._numbers[field] = self._names[field[0]] = self._inserted

    def _evict(self, wanted: int) -> None:
        while self._table and self._size + wanted > self._limit:
            gone = self._inserted - len(self._table) + 1
            field = self._table.pop()
            self._size -= len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            if self._numbers.get(field) == gone:
                del self._numbers[field]
            if self._names.get(field[0]) == gone:
                del self._names[field[0]]


def _integer(value: int, prefix: int, pattern: int) -> bytes:
    """RFC 7541 5.1."""
    mask = (1 << prefix) - 1
    if value < mask:
        return bytes((pattern | value,))
    result = bytearray((pattern | mask,))
    value -= mask
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def _string(data: bytes) -> bytes:
    return _integer(len(data), 7, 0) + data
