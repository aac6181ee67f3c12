"""One run of the proxy: put the parts together, keep them going, take them apart so that no connection is lost.

Up:   what may fail for reasons a person can mend (files, port), then registering: from then on apps depend on us.
Down: withdraw, so that new connections go direct; drain those that are here; close what is left.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TextIO

from pointsman.authority.leaf_cache import LeafCache
from pointsman.authority.root_store import load_or_create_root, root_path
from pointsman.control.flow_log import FLUSH_AFTER, FlowLog
from pointsman.control.learned_file import NAME as LEARNED_NAME
from pointsman.control.learned_file import LearnedFile
from pointsman.control.policy_in_force import PolicyInForce
from pointsman.control.registration import Registration
from pointsman.control.secrets import Secrets
from pointsman.control.settings import Settings
from pointsman.engine.connection import Settings as EngineSettings
from pointsman.policy.rules import Policy
from pointsman.server.connection_task import Services
from pointsman.server.limits import Counters
from pointsman.server.listener import Listeners, listen
from pointsman.server.server import Server, mint_threads
from pointsman.server.upstream_dial import Upstreams
from pointsman.server.upstream_tls import UpstreamContexts
from pointsman.system.interface import System
from pointsman.system.key_protection import key_protection
from pointsman.wire.abi import Endpoints

YOUNG_OBJECTS = 10_000  # containers made and kept before the cycle collector looks; CPython's own is 700 to 2,000
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Ready:
    """The proxy is registered and accepts."""

    endpoints: Endpoints
    registration: int
    root_pem: Path
    """The public root certificate, to be trusted by apps."""
    counters: Counters
    """Live: they count on."""
    stop: Callable[[], None]
    """What a signal does: withdraw, drain, return."""
    use: Callable[[Policy], None]
    """Decide by another policy that the kernel has been told of already: for a worker, whose parent does that."""


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


async def run_proxy(
    settings: Settings,
    system: System,
    on_ready: Callable[[Ready], None],
    *,
    out: TextIO = sys.stdout,
    seat: Seat | None = None,
    hire: Hire | None = None,
) -> None:
    """Run until SIGTERM or SIGINT (or `Ready.stop`).

    `seat`: as a worker, on sockets of the parent.  `hire`: as a parent, who leaves the connections to workers.

    Raises:
        PointsmanError: it could not start.
    """
    stop = asyncio.Event()
    with ExitStack() as stack:
        root = load_or_create_root(settings.ca_dir, key_protection())
        upstream_tls = UpstreamContexts(settings.upstream_ca)
        printing = settings.print_flows or settings.json_flows
        loop = asyncio.get_running_loop()
        flows = FlowLog(
            settings.flow_file,
            out if printing else None,
            json=settings.json_flows,
            later=lambda flush: loop.call_later(FLUSH_AFTER, flush),
        )
        stack.callback(flows.close)
        threads = stack.enter_context(mint_threads())
        if seat is None:
            listeners = listen(settings.port, any_address=settings.any_address)
        else:
            listeners = Listeners(seat.endpoints, seat.listening)
        stack.callback(listeners.close)
        registration = Registration(system, settings.policy, listeners.endpoints, lease_ms=settings.lease_ms)
        stack.callback(registration.close)

        leaves = LeafCache(root, now=lambda: datetime.now(UTC))
        learned = LearnedFile(settings.ca_dir / LEARNED_NAME)
        services = Services(
            system.redirects,
            Upstreams(
                lambda: upstream_tls(()),
                system.redirects,
                Secrets(settings.policy_file.parent if settings.policy_file is not None else Path()),
                timeout=settings.limits.dial_timeout,
            ),
            leaves,
            threads,
            flows.write,
            learn=lambda app, host, reason: learned.refused(app, host, reason, time.time()),
        )
        limits = settings.limits
        engine = EngineSettings(
            settings.policy,
            upstream_tls,
            learned,
            idle_timeout=limits.idle_timeout,
            dial_timeout=limits.dial_timeout,
            life_timeout=limits.life_timeout,
        )
        server: Server | Workforce
        if hire is not None:
            server = hire(listeners, registration.again)
        else:
            server = Server(system, engine, services, limits, seat.first_flow_id if seat is not None else 1)
        file = settings.policy_file if seat is None else None  # the parent of a worker looks at it
        in_force = PolicyInForce(settings.policy, file, system, registration)
        stack.callback(in_force.close)
        in_force.start(server.use)

        if not isinstance(server, Server):
            await server.start()  # they register before us: the newest registration is the one that acts
        registration.open()
        stack.enter_context(_signals_set(stop))
        stack.enter_context(_rare_collections())
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(registration.keep())
            watch = group.create_task(in_force.keep())
            serving = group.create_task(server.serve(listeners.sockets, stop))
            on_ready(
                Ready(
                    listeners.endpoints,
                    registration.number,
                    root_path(settings.ca_dir),
                    server.counters,
                    stop.set,
                    in_force.take,
                )
            )
            await stop.wait()
            beat.cancel()
            watch.cancel()
            registration.close()
            await serving


@contextmanager
def _rare_collections() -> Iterator[None]:
    """What is here by now stays, so the cycle collector need not look at it again and again (docs/performance.md)."""
    previous = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *previous[1:])
    try:
        yield
    finally:
        gc.set_threshold(*previous)
        gc.unfreeze()


@contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop` while this is entered."""
    loop = asyncio.get_running_loop()
    previous = {}
    try:
        for number in _SIGNALS:
            # Not loop.add_signal_handler, which Windows does not have; both systems wake the loop for this one.
            previous[number] = signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    except ValueError:
        pass  # not the main thread (a test, an embedder): then `Ready.stop` is the way
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
