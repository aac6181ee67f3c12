"""One run of the proxy: put the parts together, keep them going, take them apart so that no connection is lost.

Up:   what may fail for reasons a person can mend (files, port), then registering: from then on apps depend on us.
Down: withdraw, so that new connections go direct; drain those that are here; close what is left.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from pointsman.addons.files import open_addons
from pointsman.authority.leaf_cache import LeafCache
from pointsman.authority.root_store import load_or_create_root, root_path
from pointsman.control.flow_log import FLUSH_AFTER, FlowLog
from pointsman.control.learned_file import NAME as LEARNED_NAME
from pointsman.control.learned_file import LearnedFile
from pointsman.control.policy_in_force import PolicyInForce
from pointsman.control.registration import Registration
from pointsman.control.settings import Settings
from pointsman.engine.connection import Settings as EngineSettings
from pointsman.engine.rebuild import nobody
from pointsman.server.connection_task import Services
from pointsman.server.limits import Counters
from pointsman.server.listener import listen
from pointsman.server.server import Server, mint_threads
from pointsman.server.upstream_tls import UpstreamContexts
from pointsman.system.interface import System
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


async def run_proxy(
    settings: Settings, system: System, on_ready: Callable[[Ready], None], *, out: TextIO = sys.stdout
) -> None:
    """Run until SIGTERM or SIGINT (or `Ready.stop`).

    Raises:
        PointsmanError: it could not start.
    """
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        root = load_or_create_root(settings.ca_dir)
        upstream_tls = UpstreamContexts(settings.upstream_ca)
        addons = await stack.enter_async_context(
            open_addons(settings.addons, settings.addon_settings, lambda: upstream_tls(("http/1.1",)))
        )
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
        listeners = listen(settings.port, any_address=settings.any_address)
        stack.callback(listeners.close)
        registration = Registration(system, settings.policy, listeners.endpoints, lease_ms=settings.lease_ms)
        stack.callback(registration.close)

        leaves = LeafCache(root, now=lambda: datetime.now(UTC))
        learned = LearnedFile(settings.ca_dir / LEARNED_NAME)
        services = Services(
            system.redirects,
            leaves,
            threads,
            flows.write,
            learn=lambda app, host, reason: learned.refused(app, host, reason, time.time()),
            hooks=addons.host if addons else None,
        )
        limits = settings.limits
        engine = EngineSettings(
            settings.policy,
            upstream_tls,
            learned,
            idle_timeout=limits.idle_timeout,
            dial_timeout=limits.dial_timeout,
            hooks=(lambda: addons.host.wanted) if addons else nobody,
        )
        server = Server(system, engine, services, limits)
        in_force = PolicyInForce(settings.policy, settings.policy_file, system, registration)
        stack.callback(in_force.close)
        in_force.start(server.use)

        registration.open()
        stack.enter_context(_signals_set(stop))
        stack.enter_context(_rare_collections())
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(registration.keep()), group.create_task(in_force.keep())]
            serving = group.create_task(server.serve(listeners.sockets, stop))
            on_ready(
                Ready(listeners.endpoints, registration.number, root_path(settings.ca_dir), server.counters, stop.set)
            )
            if addons:
                tasks.append(group.create_task(addons.keep(stop.set)))
            await stop.wait()
            for task in tasks:
                task.cancel()
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
