"""Whoever listens to intercepted traffic, as the server asks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pointsman.engine.messages import Subject


class Hooks(Protocol):
    @property
    def wanted(self) -> frozenset[str]:
        """The hooks that somebody listens to now."""

    def run(self, hook: str, subject: Subject, done: Callable[[], None]) -> bool:
        """True: done already, and `done` is not called.  False: it is, later, from the event loop, exactly once."""
