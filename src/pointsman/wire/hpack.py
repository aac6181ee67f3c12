"""Read HPACK header blocks (RFC 7541): fields come out, and the dynamic table follows what the encoder does to its own.

Pure, one decoder for each direction of a connection.  Every block must be given to it, in order, or the table is lost;
after an error it is lost too.  Both the table and what one block may decode to are bounded here, whatever the peers
have agreed on: a table of a few bytes can stand for megabytes of fields.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from pointsman.wire.huffman import HuffmanError, decode

TABLE_LIMIT = 256 * 1024  # bytes as RFC 7541 4.1 counts them; browsers ask for 64 KiB
BLOCK_LIMIT = 256 * 1024  # bytes of the fields of one block, counted likewise
REMEMBERED = 64  # blocks whose meaning is remembered while the table stays as it is
SECRET_LIMIT = 64  # names
ENTRY_OVERHEAD = 32
DEFAULT_TABLE_SIZE = 4096

Field = tuple[bytes, bytes]
STATIC_TABLE: Final[tuple[Field, ...]] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)


class HpackError(ValueError):
    """Not HPACK, or more of it than we follow."""


class Decoder:
    def __init__(self, *, largest: int = TABLE_LIMIT) -> None:
        """`largest`: bytes that the table may be given; who ends a connection knows what it has announced."""
        self._largest = largest
        self._table: deque[Field] = deque()
        self._size = 0
        self._limit = DEFAULT_TABLE_SIZE
        self._remembered: dict[bytes, tuple[Field, ...]] = {}
        self.secret: set[bytes] = set()
        """Names of fields that came as never to be indexed (RFC 7541 7.1.3); at most SECRET_LIMIT of them."""

    @property
    def table_size(self) -> int:
        """Bytes in the dynamic table, as RFC 7541 4.1 counts them."""
        return self._size

    def decode(self, block: bytes) -> tuple[Field, ...]:
        """Raises HpackError; the decoder is of no use then."""
        known = self._remembered.get(block)
        if known is not None:
            return known
        try:
            fields, changed = self._decode(block)
        except (IndexError, HuffmanError) as error:
            raise HpackError(str(error)) from error
        if changed:
            self._remembered.clear()
        elif len(block) <= 1024 and len(self._remembered) < REMEMBERED:
            self._remembered[block] = fields
        return fields

    def _decode(self, block: bytes) -> tuple[tuple[Field, ...], bool]:
        fields: list[Field] = []
        total = at = 0
        changed = False
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                field = self._entry(index)
            elif first & 0xE0 == 0x20:
                size, at = _integer(block, at, 5)
                if fields:
                    raise HpackError("the table changes its size after a field")
                self._resize(size)
                changed = True
                continue
            else:
                indexed = first & 0x40
                index, at = _integer(block, at, 6 if indexed else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                field = (name, value)
                if first & 0x10 and not indexed and len(self.secret) < SECRET_LIMIT:
                    self.secret.add(name)
                if indexed:
                    self._insert(field)
                    changed = True
            fields.append(field)
            total += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            if total > BLOCK_LIMIT:
                raise HpackError(f"a block of more than {BLOCK_LIMIT} bytes of fields")
        return tuple(fields), changed

    def _entry(self, index: int) -> Field:
        if index == 0:
            raise HpackError("index 0")
        if index <= len(STATIC_TABLE):
            return STATIC_TABLE[index - 1]
        return self._table[index - len(STATIC_TABLE) - 1]

    def _insert(self, field: Field) -> None:
        self._size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
        self._table.appendleft(field)
        self._evict()

    def _resize(self, size: int) -> None:
        if size > self._largest:
            raise HpackError(f"a table of {size} bytes")
        self._limit = size
        self._evict()

    def _evict(self) -> None:
        while self._size > self._limit:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """RFC 7541 5.1; the value and the position after it."""
    mask = (1 << prefix) - 1
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in (0, 7, 14, 21, 28):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise HpackError("an integer of more than five bytes")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    coded = block[at] & 0x80
    size, at = _integer(block, at, 7)
    end = at + size
    if end > len(block):
        raise HpackError("a string reaches beyond its block")
    data = block[at:end]
    return (decode(data) if coded else data), end
