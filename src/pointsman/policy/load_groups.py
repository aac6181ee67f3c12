"""What `@group` and `file:NAME` stand for in the lists of a rule.

Pure.  It follows groups into groups and files into files, each but once, notices circles, and complains about a wrong
value where it stands, not where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pointsman.policy.load_lists import (
    Complain,
    Gathered,
    ReadList,
    add_app,
    add_host,
    add_network,
    gather_lines,
    read_text,
    take_app,
    take_host,
    take_network,
)
from pointsman.policy.load_values import quote

KINDS = {
    "apps": (take_app, add_app),
    "hosts": (take_host, add_host),
    "networks": (take_network, add_network),
}
MAX_LISTS = 100  # files of one policy


@dataclass(slots=True)
class Groups:
    """All named lists of one policy."""

    source: str
    tables: dict[str, dict[str, list[object]]]
    """Kind → name → values as TOML gave them."""
    line: Callable[[str, str], int]
    """Of a group, by kind and name."""
    read: ReadList | None
    complain: Complain
    lists: dict[tuple[str, str], tuple[Gathered, list[tuple[int, str]]]] = field(default_factory=dict)
    """By kind and name: a file is read once, however many rules use it."""
    used: set[tuple[str, str]] = field(default_factory=set)
    done: set[tuple[str, str]] = field(default_factory=set)
    """What has gone into the present value: nothing needs to go in twice, which also bounds the work."""

    def gather(self, kind: str, values: list[object], into: Gathered, line: int, key: str) -> None:
        """Everything that `values` of a rule's `key` stand for."""
        self.done.clear()
        self._values(kind, values, into, (self.source, line, f"{key}: "), ())

    def check_unused(self) -> None:
        """Also a group that no rule uses must be right."""
        for kind, groups in self.tables.items():
            for name in groups:
                if (kind, name) not in self.used:
                    self._group(kind, name, Gathered(), (self.source, self.line(kind, name), ""), ())

    def _values(
        self, kind: str, values: list[object], into: Gathered, at: tuple[str, int, str], trail: tuple[str, ...]
    ) -> None:
        add = KINDS[kind][1]
        for value in values:
            if isinstance(value, str) and value.startswith("@"):
                self._group(kind, value[1:], into, at, trail)
            elif isinstance(value, str) and value.startswith("file:"):
                self._file(kind, value.removeprefix("file:"), into, at, trail)
            else:
                try:
                    if not isinstance(value, str) or value != value.strip() or (" " in value and kind != "apps"):
                        raise ValueError("")
                    add(value, into)
                except ValueError as error:
                    allowed = (
                        str(error) or f'a string: one of the {kind}, a group ("@name") or a file ("file:list.txt")'
                    )
                    self.complain(at[0], at[1], f"{at[2]}found {quote(value)}; allowed: {allowed}")

    def _group(self, kind: str, name: str, into: Gathered, at: tuple[str, int, str], trail: tuple[str, ...]) -> None:
        groups = self.tables.get(kind, {})
        if name not in groups:
            known = ", ".join(f'"@{one}"' for one in groups) or "none"
            self.complain(at[0], at[1], f"{at[2]}found {quote('@' + name)}; groups of {kind}: {known}")
            return
        if self._is_circle("@" + name, at, trail):
            return
        self.used.add((kind, name))
        if ("@", name) in self.done:
            return
        self.done.add(("@", name))
        here = (self.source, self.line(kind, name), f"groups.{kind}.{name}: ")
        self._values(kind, groups[name], into, here, (*trail, "@" + name))

    def _file(self, kind: str, name: str, into: Gathered, at: tuple[str, int, str], trail: tuple[str, ...]) -> None:
        if self._is_circle(name, at, trail):
            return
        if ("file", name) in self.done:
            return
        self.done.add(("file", name))
        found = self.lists.get((kind, name)) or self._read(kind, name, at)
        if found is None:
            return
        gathered, includes = found
        into.apps += gathered.apps
        into.exact |= gathered.exact
        into.below |= gathered.below
        for key, prefixes in gathered.prefixes.items():
            into.prefixes.setdefault(key, set()).update(prefixes)
        for line, included in includes:
            self._file(kind, included, into, (name, line, ""), (*trail, name))

    def _read(self, kind: str, name: str, at: tuple[str, int, str]) -> tuple[Gathered, list[tuple[int, str]]] | None:
        take, add = KINDS[kind]
        gathered = Gathered()
        try:
            if self.read is None:
                raise ValueError("this policy has no folder to read files from")
            if len(self.lists) >= MAX_LISTS:
                raise ValueError(f"more than {MAX_LISTS} list files")
            text = read_text(self.read(name))
        except ValueError as error:
            self.complain(at[0], at[1], f'{at[2]}cannot read the list "{name}": {error}')
            return None
        includes = gather_lines(text, take, add, gathered, lambda line, wrong: self.complain(name, line, wrong))
        self.lists[kind, name] = (gathered, includes)
        return gathered, includes

    def _is_circle(self, name: str, at: tuple[str, int, str], trail: tuple[str, ...]) -> bool:
        if name not in trail:
            return False
        self.complain(at[0], at[1], f"{at[2]}a circle: {' → '.join((*trail[trail.index(name) :], name))}")
        return True
