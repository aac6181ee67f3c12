"""How much the proxy takes on, and what it has counted.

Every bound of the server in one place.  What goes beyond a bound is refused with RST and counted, never queued.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    max_connections: int = 8192
    max_connections_per_app: int = 2048
    """Of one program, where the system names it."""
    idle_timeout: float = 600.0  # seconds without a byte in either direction
    dial_timeout: float = 20.0  # seconds
    life_timeout: float = float("inf")  # seconds that a connection may last at all
    max_bytes: float = float("inf")  # that a connection may carry, both ways together
    drain_timeout: float = 5.0  # seconds that open connections get when the proxy stops
    accept_at_once: int = 64  # connections that are accepted before others have their turn


@dataclass(slots=True)
class Counters:
    accepted: int = 0
    accept_errors: int = 0
    refused_unredirected: int = 0
    """Nobody redirected them: a program dialled the proxy itself."""
    refused_foreign_context: int = 0
    """Redirected, but not by our driver of this ABI version."""
    refused_over_limit: int = 0
    refused_over_app_limit: int = 0
    crashed: int = 0
    """Connections that ended by a bug of ours."""
    open: int = 0
    open_most: int = 0
