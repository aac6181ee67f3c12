"""Ways to show a body to people.  They are accepted, and said to be of no use: nothing here
shows bodies."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger("pointsman.addon")
TViewLine = list[tuple[str, str | bytes]]
TViewResult = tuple[str, Iterator[TViewLine]]
views: list[object] = []


class View:
    """The older kind; addons inherit from it and give `name` and `__call__`."""

    name = ""

    def render_priority(self, data: bytes, **metadata: Any) -> float:
        del data, metadata
        return 0


@dataclass
class Metadata:
    """What is known of the body that is to be shown."""

    flow: object = None
    content_type: str | None = None
    http_message: object = None
    tcp_message: object = None
    udp_message: object = None
    websocket_message: object = None
    dns_message: object = None
    protobuf_definitions: object = None


class Contentview:
    """The newer kind, with `prettify`."""

    @property
    def name(self) -> str:
        return type(self).__name__.removesuffix("Contentview")

    @property
    def syntax_highlight(self) -> str:
        return "none"

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        del data, metadata
        return 0


class InteractiveContentview(Contentview):
    """And with `reencode`."""


def add(view: object) -> None:
    views.append(view)
    _log.warning("the content view %s is kept, and never used: nothing here shows bodies to people", _name(view))


def remove(view: object) -> None:
    if view in views:
        views.remove(view)


def format_text(text: bytes | str) -> Iterator[TViewLine]:
    for line in text.splitlines():
        yield [("text", line)]


def format_pairs(items: Iterable[tuple[str | bytes, str | bytes]]) -> Iterator[TViewLine]:
    for key, value in items:
        yield [("header", key), ("text", value)]


def format_dict(pairs: dict[str | bytes, str | bytes]) -> Iterator[TViewLine]:
    return format_pairs(pairs.items())


def _name(view: object) -> str:
    name = getattr(view, "name", "")
    return name if isinstance(name, str) and name else getattr(view, "__name__", type(view).__name__)


__all__ = [
    "Contentview", "InteractiveContentview", "Metadata", "TViewLine", "TViewResult", "View", "add", "format_dict",
    "format_pairs", "format_text", "remove", "views",
]  # fmt: skip
