"""Messages that somebody outside wants an intercepted WebSocket or stream to carry besides its own.

A layer asks under the name `INJECT` and is answered when something waits here: so what is injected reaches it as an
answer, in the order of everything else.  Who injects, and from which thread, is not known here; all calls come from
the event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pointsman.engine.events import Side

INJECT = "inject"
"""A question about a flow, answered when its injections have something.  Only asked if it is wanted like a hook."""
WAITING_LIMIT = 100  # messages of one connection that were injected and not taken yet
WAITING_BYTES = 16 * 1024 * 1024  # of them


class InjectionError(Exception):
    """It cannot be injected; the text says why."""


@dataclass(frozen=True, slots=True)
class Injected:
    to_client: bool
    content: bytes
    is_text: bool = False
    """Of a WebSocket message."""
    key: bytes = b""
    """What masks it on its way to a server: 4 bytes that nobody can guess (RFC 6455 10.3)."""


class Injections:
    """Of one connection."""

    __slots__ = ("_size", "_waiting", "_wake", "is_over")

    def __init__(self) -> None:
        self._waiting: deque[Injected] = deque()
        self._size = 0
        self._wake: Callable[[], None] | None = None
        self.is_over = False
        """Nothing more is carried."""

    def wait(self, wake: Callable[[], None]) -> bool:
        """Whether something is here; if not, `wake` is called once, when there is."""
        if self._waiting:
            return True
        self._wake = wake
        return False

    def check(self, size: int) -> None:
        """Raises InjectionError if `size` bytes could not be added now."""
        if self.is_over:
            raise InjectionError("the connection is over")
        if len(self._waiting) >= WAITING_LIMIT or self._size + size > WAITING_BYTES:
            raise InjectionError(
                f"{len(self._waiting)} messages of {self._size} bytes wait already, and no more may "
                f"({WAITING_LIMIT}, {WAITING_BYTES} bytes)"
            )

    def add(self, one: Injected) -> None:
        """Raises InjectionError."""
        self.check(len(one.content))
        self._waiting.append(one)
        self._size += len(one.content)
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def take(self, congested: Collection[Side]) -> Injected | None:
        """The next one; None if there is none, or if the side that it goes to is congested."""
        if not self._waiting:
            return None
        to = Side.DOWNSTREAM if self._waiting[0].to_client else Side.UPSTREAM
        if to in congested:
            return None
        one = self._waiting.popleft()
        self._size -= len(one.content)
        return one

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Harmless twice.  What waits is forgotten, and so is who is to be woken."""
        self.is_over = True
        self._waiting.clear()
        self._size = 0
        self._wake = None
