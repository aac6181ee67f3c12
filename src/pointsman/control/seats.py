"""How one proxy becomes several processes: what a worker is given, and what a parent has in place of a server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pointsman.policy.rules import Policy
from pointsman.server.limits import Counters
from pointsman.server.listener import Listeners
from pointsman.wire.abi import Endpoints


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of a worker among others: what it shares, and what must be its own."""

    endpoints: Endpoints
    listening: tuple[socket.socket, ...]
    """Bound by the parent, for all workers."""
    first_flow_id: int


class Workforce(Protocol):
    """Other processes in place of a server in this one (`control.workers`)."""

    @property
    def counters(self) -> Counters: ...

    async def start(self) -> None: ...
    def use(self, policy: Policy) -> None: ...
    async def serve(self, listening: Sequence[socket.socket], stop: asyncio.Event) -> None: ...


Hire = Callable[[Listeners, Callable[[], None]], Workforce]
"""From the listeners, and what is to be called when a worker has registered while the proxy runs."""
