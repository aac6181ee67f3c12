"""What an operating system can tell of a process beyond its program: whose it is and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    ancestors: tuple[str, ...] = ()
    """Image paths, the parent's first; as far back as they can still be seen."""
    users: frozenset[str] = frozenset()
    """Every way to write its user, in lower case: name, `domain\\name`, SID; on Linux name and uid."""
    services: frozenset[str] = frozenset()
    """Names in lower case of the Windows services in it."""
