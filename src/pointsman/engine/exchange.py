"""One request and its response, as observers of HTTP tell it, and what every observer can do.

A plain value; how it was read is decided in `http1` and `http2`.
"""

from __future__ import annotations

from typing import Final, Protocol

from msgspec import Struct

from pointsman.engine.events import Side


class Exchange(Struct, frozen=True, gc=False):
    """In HTTP/1 the bytes of a connection add up: each belongs to the exchange it came with.  In HTTP/2 they are those
    of the stream's frames."""

    method: str
    path: str
    """The request target as sent, at most PATH_LIMIT characters."""
    host: str | None
    status: int | None
    bytes_up: int
    bytes_down: int
    started: float
    ended: float
    error: str | None = None
    note: str | None = None
    decision: str | None = None
    """What the policy says about this request, and by which rule; None: as about its connection."""
    rule: str | None = None


# What follows from bytes that a layer has carried (`news`), if anything does.
RECORDS: Final = 1
"""Exchanges are to be taken."""
MORE: Final = 2
"""There are commands, a failure, an end, a deadline; and perhaps exchanges."""


class Observer(Protocol):
    """Sees plaintext go by and can neither change nor delay it."""

    seen_request: bool
    done: list[Exchange]
    """Finished and not taken yet: what one `receive` may bring, since it is taken after each."""

    def receive(self, side: Side, data: bytes, now: float) -> None: ...

    def end(self, side: Side, now: float) -> None: ...

    def cut(self, now: float, why: str) -> None: ...

    def take(self) -> list[Exchange]: ...
