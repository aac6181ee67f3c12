"""Which program is meant: a full path, a name, or a glob over paths.

Pure.  Paths compare without regard to letter case, and `/` and `\\` are the same separator, never an escape: that is
how Windows sees them, and the lab's app ids too.

    C:\\Program Files\\App\\app.exe    this program
    app.exe                          a program of this name, wherever it lies
    C:\\Program Files\\App-*\\app.exe   `*` and `?` stay within one folder, `**` crosses folders: survives updates
    app-*.exe                        a glob without a separator is about the name
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

_WILD = re.compile(r"[*?]")
_GLOB_TOKEN = re.compile(r"\*\*|\*|\?|[^*?]+")


@lru_cache(maxsize=4096)
def normal(path: str) -> str:
    """The form in which paths are compared."""
    return path.lower().replace("\\", "/")


@lru_cache(maxsize=4096)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """`*` and `?` do not cross a slash, `**` does; every other character is itself."""
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    text = "".join(words.get(token) or re.escape(token) for token in _GLOB_TOKEN.findall(glob))
    return re.compile(text, re.DOTALL)


def is_glob(text: str) -> bool:
    return _WILD.search(text) is not None


@dataclass(frozen=True, slots=True)
class AppSet:
    """An empty set means that nobody asked for an app."""

    paths: tuple[str, ...] = ()
    """As written, for the system that makes app ids of them."""
    names: frozenset[str] = frozenset()
    globs: tuple[str, ...] = ()
    """In normal form."""
    plain: frozenset[str] = frozenset()
    """The paths in normal form."""

    @classmethod
    def of(cls, patterns: Iterable[str]) -> AppSet:
        paths: dict[str, str] = {}
        names: set[str] = set()
        globs: dict[str, None] = {}
        for pattern in patterns:
            plain = normal(pattern)
            if is_glob(plain):
                globs[plain] = None
            elif "/" in plain:
                paths.setdefault(plain, pattern)
            else:
                names.add(plain)
        return cls(tuple(paths.values()), frozenset(names), tuple(globs), frozenset(paths))

    def __bool__(self) -> bool:
        return bool(self.paths or self.names or self.globs)

    def __iter__(self) -> Iterator[str]:
        yield from self.paths
        yield from sorted(self.names)
        yield from self.globs

    @property
    def is_open(self) -> bool:
        """It may match programs that nobody has named: the kernel, which knows full paths, must be told of them."""
        return bool(self.names or self.globs)

    def matches(self, path: str) -> bool:
        plain = normal(path)
        return plain in self.plain or self.matches_openly(plain)

    def matches_openly(self, plain: str) -> bool:
        """Does a name or a glob match this path in normal form?"""
        if not self.is_open:
            return False
        name = plain.rpartition("/")[2]
        return name in self.names or any(
            glob_pattern(glob).fullmatch(plain if "/" in glob else name) for glob in self.globs
        )
