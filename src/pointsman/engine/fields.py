"""Ordered fields in which a name may come more than once: headers, and what is read out of a URL, a cookie or a form.

They decide how such a thing is looked up and changed, not what its names mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, MutableMapping
from functools import lru_cache
from typing import TypeVar, overload

Field = tuple[bytes, bytes]
Frozen = list[Field] | tuple[bytes, list[Field]]
Name = TypeVar("Name")
Value = TypeVar("Value")
Pairs = Iterable[tuple[Name, Value]]
_SPLIT = re.compile(rb"([^:\r\n]+): ([^\r\n]*)\r\n")


class AllItems(ItemsView[Name, Value]):
    """Every pair, also those of a name that came before."""

    def __init__(self, pairs: Pairs[Name, Value]) -> None:
        super().__init__({})
        self._pairs = list(pairs)

    def __iter__(self) -> Iterator[tuple[Name, Value]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, pair: object) -> bool:
        return pair in self._pairs


class Headers(MutableMapping[str, str]):
    """Header fields in their order, names as sent; looking one up does not mind letter case (RFC 9110 5)."""

    __slots__ = ("_added", "_block", "_fields", "_read")

    def __init__(self, fields: Iterable[Field] = (), **named: str) -> None:
        """`named`: for what is written by hand; `content_type="text/html"` is Content-Type."""
        self._block = b""
        self._added: list[Field] = []
        """Behind those of the block, while that was not taken apart."""
        self._read: list[Field] | None = None
        self._fields: list[Field] | None = list(fields)
        for name, value in named.items():
            self[name.replace("_", "-")] = value

    @classmethod
    def of_block(cls, block: bytes) -> Headers:
        """Of lines `name: value`, each with its CRLF, that a strict reader has accepted; not taken apart until somebody
        looks."""
        headers = cls.__new__(cls)
        headers._block = block
        headers._added = []
        headers._read = headers._fields = None
        return headers

    @property
    def fields(self) -> list[Field]:
        fields = self._fields
        if fields is None:
            self._read = _SPLIT.findall(self._block)
            fields = self._fields = self._read + self._added
        return fields

    @fields.setter
    def fields(self, fields: Iterable[Field]) -> None:
        self._fields = list(fields)

    @property
    def block(self) -> bytes | None:
        """What `of_block` got, if nobody has looked into it or added to it since."""
        return self._block if self._fields is None and not self._added else None

    def is_as_read(self, name: str) -> bool:
        """Certainly nobody has changed what `of_block` got of this name; False says nothing."""
        return self._fields is None and all(key.lower() != _named(name)[1] for key, _ in self._added)

    def added_to(self, block: bytes) -> list[Field] | None:
        """What stands behind the fields that `of_block` read from `block`; None if it is not those that come first."""
        if self._block is not block:
            return None
        fields, read = self._fields, self._read
        if fields is None or read is None:
            return self._added
        count = len(read)
        return fields[count:] if fields[:count] == read else None

    def frozen(self) -> Frozen:
        """As they are now; for `thawed`."""
        if self._fields is None:
            return self._block, self._added.copy()
        return self._fields.copy()

    @classmethod
    def thawed(cls, frozen: Frozen) -> Headers:
        if isinstance(frozen, list):
            return cls(frozen)
        headers = cls.of_block(frozen[0])
        headers._added = frozen[1].copy()
        return headers

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        raw = _lowered(name)
        size = len(raw)
        for key, _ in self.fields:  # noqa: SIM110 - for each message, and a generator takes twice as long
            if len(key) == size and key.lower() == raw:
                return True
        return False

    def __getitem__(self, name: str) -> str:
        raw = _lowered(name)
        values = [value for key, value in self.fields if key.lower() == raw]
        if not values:
            raise KeyError(name)
        return _text(values[0] if len(values) == 1 else b", ".join(values))

    def __setitem__(self, name: str, value: str) -> None:
        """In the place of the first one that was there; the others of that name are gone."""
        raw, lowered = _named(name)
        field = raw, _raw(value)
        if self._fields is None and not self._added and lowered not in self._block.lower():
            self._added.append(field)  # the block need not be taken apart for that
            return
        fields = self.fields
        size, at = len(lowered), -1
        for index, (key, _) in enumerate(fields):
            if len(key) == size and key.lower() == lowered:
                if at >= 0:
                    self.set_all(name, [value])
                    return
                at = index
        if at < 0:
            fields.append(field)
        else:
            fields[at] = field

    def __delitem__(self, name: str) -> None:
        raw = _lowered(name)
        kept = [one for one in self.fields if one[0].lower() != raw]
        if len(kept) == len(self.fields):
            raise KeyError(name)
        self.fields[:] = kept

    def __iter__(self) -> Iterator[str]:
        """Each name once."""
        seen = set()
        for name, _ in self.fields:
            if name.lower() not in seen:
                seen.add(name.lower())
                yield _text(name)

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.fields})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._lowered_names() == other._lowered_names()

    __hash__ = None  # type: ignore[assignment]  # a mutable mapping has none; MutableMapping's annotation says otherwise

    def __repr__(self) -> str:
        return f"Headers({self.fields!r})"

    def __bytes__(self) -> bytes:
        """As HTTP/1.1 writes them."""
        return b"".join(b"%s: %s\r\n" % field for field in self.fields)

    @overload
    def get(self, name: str, default: None = None, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str, /) -> str: ...
    @overload
    def get(self, name: str, default: Value, /) -> str | Value: ...
    def get(self, name: str, default: object = None, /) -> object:
        values = self.get_all(name)
        return ", ".join(values) if values else default

    def get_all(self, name: str) -> list[str]:
        raw = _lowered(name)
        size = len(raw)
        return [_text(value) for key, value in self.fields if len(key) == size and key.lower() == raw]

    def set_all(self, name: str, values: Iterable[str]) -> None:
        """In the place of the first one that was there."""
        raw, wanted = _lowered(name), [(_raw(name), _raw(value)) for value in values]
        at = next((i for i, one in enumerate(self.fields) if one[0].lower() == raw), len(self.fields))
        rest = [one for one in self.fields[at:] if one[0].lower() != raw]
        self.fields[at:] = [*wanted, *rest]

    def add(self, name: str, value: str) -> None:
        self.fields.append((_raw(name), _raw(value)))

    def insert(self, index: int, name: str, value: str) -> None:
        self.fields.insert(index, (_raw(name), _raw(value)))

    def items(self, multi: bool = False) -> ItemsView[str, str]:
        """With `multi` each field by itself, else each name once, its values joined by commas."""
        if multi:
            return AllItems((_text(name), _text(value)) for name, value in self.fields)
        return super().items()

    def copy(self) -> Headers:
        return Headers(self.fields)

    def _lowered_names(self) -> list[Field]:
        return [(name.lower(), value) for name, value in self.fields]


class FieldsView(MutableMapping[Name, Value]):
    """Fields that are part of something else: reading parses it anew, changing writes it back at once."""

    __slots__ = ("_read", "_write")

    def __init__(
        self, read: Callable[[], Pairs[Name, Value]], write: Callable[[list[tuple[Name, Value]]], None]
    ) -> None:
        self._read = read
        self._write = write

    @property
    def fields(self) -> tuple[tuple[Name, Value], ...]:
        return tuple(self._read())

    @fields.setter
    def fields(self, pairs: Pairs[Name, Value]) -> None:
        self._write(list(pairs))

    def __getitem__(self, name: Name) -> Value:
        """The first one."""
        for key, value in self.fields:
            if key == name:
                return value
        raise KeyError(name)

    def __setitem__(self, name: Name, value: Value) -> None:
        self.set_all(name, [value])

    def __delitem__(self, name: Name) -> None:
        fields = self.fields
        kept = [pair for pair in fields if pair[0] != name]
        if len(kept) == len(fields):
            raise KeyError(name)
        self._write(kept)

    def __iter__(self) -> Iterator[Name]:
        return iter(dict(self.fields))

    def __len__(self) -> int:
        return len(dict(self.fields))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.fields)!r})"

    def get_all(self, name: Name) -> list[Value]:
        return [value for key, value in self.fields if key == name]

    def set_all(self, name: Name, values: Iterable[Value]) -> None:
        """In the place of the first one that was there."""
        fields = list(self.fields)
        at = next((i for i, pair in enumerate(fields) if pair[0] == name), len(fields))
        rest = [pair for pair in fields[at:] if pair[0] != name]
        self._write([*fields[:at], *[(name, value) for value in values], *rest])

    def add(self, name: Name, value: Value) -> None:
        self._write([*self.fields, (name, value)])

    def insert(self, index: int, name: Name, value: Value) -> None:
        fields = list(self.fields)
        fields.insert(index, (name, value))
        self._write(fields)

    def items(self, multi: bool = False) -> ItemsView[Name, Value]:
        """With `multi` each field by itself, else each name once with its first value."""
        return AllItems(self.fields) if multi else super().items()


def pairs_of(value: Mapping[Name, Value] | Pairs[Name, Value]) -> list[tuple[Name, Value]]:
    """What may be assigned to a view."""
    if isinstance(value, FieldsView):
        return list(value.fields)
    return list(value.items()) if isinstance(value, Mapping) else [(name, one) for name, one in value]


@lru_cache(maxsize=1024)
def _named(name: str) -> tuple[bytes, bytes]:
    """As it is written, and in lower case."""
    raw = _raw(name)
    return raw, raw.lower()


def _lowered(name: str) -> bytes:
    return _named(name)[1]


def _raw(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
