"""The proxy's server: every accepted connection gets somebody who carries it out, or is refused.

The listener is for redirected connections only.  A connection that nobody redirected has no original destination, and
serving it would make an open proxy; it gets RST and a count.  What happens on a connection is the engine's business.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from itertools import count

from pointsman.engine.connection import Connection
from pointsman.engine.flow_record import Flow
from pointsman.engine.settings import Settings
from pointsman.policy.rules import Policy
from pointsman.server.connection_task import ConnectionTask, Services
from pointsman.server.limits import Counters, Limits
from pointsman.server.listener import accept_forever
from pointsman.server.stream import keep_freed_blocks, reset_on_close
from pointsman.system.interface import System
from pointsman.system.program_path import program_path
from pointsman.wire.abi import AbiError, Address
from pointsman.wire.redirect_context import RedirectContext, decode_redirect_context

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Detour:
    """Connections to these destinations are no app's: other settings hold, and they are led elsewhere."""

    destinations: frozenset[tuple[Address, int]]
    origin: tuple[Address, int]
    settings: Settings
    services: Services


class Server:
    def __init__(
        self, system: System, settings: Settings, services: Services, limits: Limits, first_id: int = 1
    ) -> None:
        self._system = system
        self._settings = settings
        self._services = services
        self._limits = limits
        self._ids = count(first_id)
        self._connections: set[ConnectionTask] = set()
        self._emptied: asyncio.Future[None] | None = None
        """Somebody waits until there are none."""
        self._of_app: dict[str, int] = {}
        """How many connections are open, by program."""
        self.counters = Counters()
        self.detour: Detour | None = None

    def use(self, policy: Policy) -> None:
        """Decide about connections that come from now on by this policy; open ones keep their decision."""
        self._settings = replace(self._settings, policy=policy)

    async def serve(self, listening: Sequence[socket.socket], stop: asyncio.Event) -> None:
        """Accept until `stop` is set, then let open connections finish for as long as the limits say."""
        keep_freed_blocks()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                accepting = [
                    group.create_task(
                        accept_forever(
                            one,
                            lambda accepted: self._take(accepted, loop),
                            self.counters,
                            self._limits.accept_at_once,
                        )
                    )
                    for one in listening
                ]
                await stop.wait()
                for task in accepting:
                    task.cancel()
            await self._wait_until_empty(self._limits.drain_timeout)
        finally:
            for connection in list(self._connections):
                connection.stop()
            await self._wait_until_empty(None)  # a reset needs no peer, so this is a matter of a few turns of the loop

    async def _wait_until_empty(self, timeout: float | None) -> None:
        """Returns when no connection is open, or when the time is over."""
        if self._connections:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._emptied}, timeout=timeout)

    def _take(self, accepted: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        counters = self.counters
        if len(self._connections) >= self._limits.max_connections:
            counters.refused_over_limit += 1
            _refuse(accepted)
            return
        try:
            made = self._connection_task(accepted, loop)
        except OSError:
            # Gone between accept and here; there is nobody to tell.
            counters.accept_errors += 1
            accepted.close()
            return
        except Exception as bug:
            # A bug of ours.  The accept loop must outlive it.
            self._crashed(bug)
            made = None
        if made is None or not self._may_have_another(made.app):
            _refuse(accepted)
            return
        self._connections.add(made)
        counters.open = len(self._connections)
        counters.open_most = max(counters.open_most, counters.open)
        made.start(accepted, self._ended)

    def _may_have_another(self, app: str | None) -> bool:
        """If so, it is counted."""
        if app is None:
            return True
        open_now = self._of_app.get(app, 0)
        if open_now >= self._limits.max_connections_per_app:
            self.counters.refused_over_app_limit += 1
            return False
        self._of_app[app] = open_now + 1
        return True

    def _ended(self, connection: ConnectionTask, bug: Exception | None) -> None:
        self._connections.discard(connection)
        self.counters.open = len(self._connections)
        app = connection.app
        if app is not None:
            self._of_app[app] -= 1
            if not self._of_app[app]:
                del self._of_app[app]
        if bug is not None:  # It costs this one connection, not all the others.
            self._crashed(bug)
        if self._emptied is not None and not self._connections and not self._emptied.done():
            self._emptied.set_result(None)

    def _crashed(self, bug: Exception) -> None:
        self.counters.crashed += 1
        _log.error("a connection ended by a bug in the proxy", exc_info=bug)

    def _connection_task(self, accepted: socket.socket, loop: asyncio.AbstractEventLoop) -> ConnectionTask | None:
        """None if this connection is not for us.  Raises OSError."""
        context = self._context(accepted)
        if context is None:
            return None
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address, port = context.original_destination
        destination = (_unmapped(address), port)
        flow = Flow(
            id=next(self._ids),
            time=time.time(),
            app=program_path(self._system, context),
            pid=context.pid,
            original_destination=destination,
            process=self._system.processes.facts(context.pid) if self._settings.policy.asks_process else None,
            source=accepted.getpeername()[:2] if self._settings.hooks() else None,
        )
        records = self._system.redirects.redirect_records(accepted)
        detour = self.detour
        if detour is not None and destination in detour.destinations:
            return ConnectionTask(Connection(flow, detour.settings), detour.origin, records, detour.services, loop)
        return ConnectionTask(Connection(flow, self._settings), destination, records, self._services, loop)

    def _context(self, accepted: socket.socket) -> RedirectContext | None:
        data = self._system.redirects.redirect_context(accepted)
        if data is None:
            self.counters.refused_unredirected += 1
            return None
        if isinstance(data, RedirectContext):
            return data
        try:
            return decode_redirect_context(data)
        except AbiError:
            self.counters.refused_foreign_context += 1
            return None


def mint_threads() -> ThreadPoolExecutor:
    """Two: issuing releases the interpreter lock only in parts."""
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="pointsman-leaf")


def _refuse(accepted: socket.socket) -> None:
    reset_on_close(accepted)
    accepted.close()


def _unmapped(address: Address) -> Address:
    """A dual-stack socket that dialled an IPv4-mapped address has dialled IPv4."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
