"""The proxy's server: every accepted connection becomes a task of its own, or is refused.

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
from dataclasses import replace
from ipaddress import IPv6Address
from itertools import count

from pointsman.engine.connection import Connection, Settings
from pointsman.engine.flow_record import Flow
from pointsman.policy.rules import Policy
from pointsman.server.connection_task import ConnectionTask, Services
from pointsman.server.limits import Counters, Limits
from pointsman.server.listener import accept_forever
from pointsman.server.stream import keep_freed_blocks, reset_on_close
from pointsman.system.interface import System
from pointsman.wire.abi import AbiError, Address
from pointsman.wire.redirect_context import RedirectContext, decode_redirect_context

_log = logging.getLogger(__name__)


class Server:
    def __init__(self, system: System, settings: Settings, services: Services, limits: Limits) -> None:
        self._system = system
        self._settings = settings
        self._services = services
        self._limits = limits
        self._ids = count(1)
        self._tasks: dict[asyncio.Task[None], ConnectionTask] = {}
        self.counters = Counters()

    def use(self, policy: Policy) -> None:
        """Decide about connections that come from now on by this policy; open ones keep their decision."""
        self._settings = replace(self._settings, policy=policy)

    async def serve(self, listening: Sequence[socket.socket], stop: asyncio.Event) -> None:
        """Accept until `stop` is set, then let open connections finish for as long as the limits say."""
        keep_freed_blocks()
        async with asyncio.TaskGroup() as group:
            accepting = [
                group.create_task(accept_forever(one, lambda accepted: self._take(accepted, group), self.counters))
                for one in listening
            ]
            await stop.wait()
            for task in accepting:
                task.cancel()
            await self.drain()

    async def drain(self) -> None:
        """Returns when no connection is open; those that do not end by themselves in time are reset."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=self._limits.drain_timeout)
        for connection in list(self._tasks.values()):
            connection.stop()
        # A reset needs no peer, so this is a matter of a few turns of the loop.
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _take(self, accepted: socket.socket, group: asyncio.TaskGroup) -> None:
        if len(self._tasks) >= self._limits.max_connections:
            self.counters.refused_over_limit += 1
            _refuse(accepted)
            return
        try:
            made = self._connection_task(accepted)
        except OSError:
            # Gone between accept and here; there is nobody to tell.
            self.counters.accept_errors += 1
            accepted.close()
            return
        except Exception:
            # A bug of ours.  The accept loop must outlive it.
            self._crashed()
            made = None
        if made is None:
            _refuse(accepted)
            return
        task = group.create_task(self._run(made, accepted))
        self._tasks[task] = made
        task.add_done_callback(self._tasks.pop)

    async def _run(self, connection: ConnectionTask, accepted: socket.socket) -> None:
        self.counters.open += 1
        self.counters.open_most = max(self.counters.open_most, self.counters.open)
        try:
            await connection.run(accepted)
        except Exception:
            # A bug of ours.  It costs this one connection, not all the others.
            self._crashed()
        finally:
            self.counters.open -= 1

    def _crashed(self) -> None:
        self.counters.crashed += 1
        _log.exception("a connection ended by a bug in the proxy")

    def _connection_task(self, accepted: socket.socket) -> ConnectionTask | None:
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
            app=self._system.image_path(context.app_id) if context.app_id else None,
            pid=context.pid,
            original_destination=destination,
            process=self._system.processes.facts(context.pid) if self._settings.policy.asks_process else None,
        )
        records = self._system.redirects.redirect_records(accepted)
        return ConnectionTask(Connection(flow, self._settings), destination, records, self._services)

    def _context(self, accepted: socket.socket) -> RedirectContext | None:
        data = self._system.redirects.redirect_context(accepted)
        if data is None:
            self.counters.refused_unredirected += 1
            return None
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
