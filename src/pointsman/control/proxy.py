"""One run of the proxy: put the parts together, keep them going, take them apart so that no connection is lost.

Up:   what may fail for reasons a person can mend (files, port), then registering: from then on apps depend on us.
Down: withdraw, so that new connections go direct; drain those that are here; close what is left.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pointsman.authority.root_store import root_path
from pointsman.control.operations import Operations
from pointsman.control.parts import Parts, assemble
from pointsman.control.seats import Hire, Seat
from pointsman.control.settings import Settings
from pointsman.control.takeover import OnStep
from pointsman.errors import PointsmanError
from pointsman.policy.rules import Policy
from pointsman.server.limits import Counters
from pointsman.server.server import Server
from pointsman.system.interface import ControlServer, System
from pointsman.wire.abi import Endpoints

YOUNG_OBJECTS = 10_000  # containers made and kept before the cycle collector looks; CPython's own is 700 to 2,000
ACCEPT_TURNS = 4  # of the event loop; each accepts up to 64 connections a listener
_log = logging.getLogger(__name__)
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


async def run_proxy(
    settings: Settings,
    system: System,
    on_ready: Callable[[Ready], None],
    *,
    out: TextIO = sys.stdout,
    on_step: OnStep = lambda _name, _facts: None,
    seat: Seat | None = None,
    hire: Hire | None = None,
) -> None:
    """Run until SIGTERM or SIGINT (or `Ready.stop`), or until a newer instance has relieved us.

    `on_step` hears how taking over goes on (`control.takeover`).  `seat`: as a worker, on sockets of the parent.
    `hire`: as a parent, who leaves the connections to workers.

    Raises:
        PointsmanError: it could not start, or could not take over.
    """
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        parts = await assemble(settings, system, stack, out, stop.set, on_step, seat, hire)
        stack.enter_context(_signals_set(stop))
        stack.enter_context(_rare_collections())
        if parts.canary is not None:
            on_step("listening", {})
        if not isinstance(parts.server, Server):
            await parts.server.start()  # they register before us: the newest registration is the one that acts
        parts.registration.open()
        if parts.operations is not None:
            stack.push_async_callback((await _open_control(system, parts.operations)).close)

        def ready() -> None:
            on_ready(
                Ready(
                    parts.listeners.endpoints,
                    parts.registration.number,
                    root_path(settings.ca_dir),
                    parts.server.counters,
                    stop.set,
                    parts.in_force.take,
                )
            )

        failure = await _serve(parts, stop, ready)
    if failure is not None:
        raise failure


async def _serve(parts: Parts, stop: asyncio.Event, ready: Callable[[], None]) -> PointsmanError | None:
    """From registered to the last connection.  Returns why we could not take over, if that was so."""
    failure: PointsmanError | None = None
    closing = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        background = [group.create_task(keep()) for keep in parts.keeping]
        serving = group.create_task(parts.server.serve(parts.listeners.sockets, closing))
        serving.add_done_callback(lambda _: stop.set())  # before its time: no worker is left
        try:
            if parts.canary is not None:
                assert isinstance(parts.server, Server), "workers take nothing over"
                await _unless(stop, parts.takeover.prove(parts.canary, parts.listeners.endpoints))
                parts.server.detour = None
                await parts.canary.close()
                background.append(group.create_task(parts.takeover.relieve()))
            if not stop.is_set():
                ready()
        except PointsmanError as error:
            failure = error
            stop.set()
        await stop.wait()
        for task in background:
            task.cancel()
        parts.registration.close()
        # What the driver has sent here until now is in the listeners' queues: it is accepted before they are left.
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        closing.set()
        await serving
    return failure


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """`work` to its end, or until `stop` is set.  Raises what it raises."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait({working, stopping})


async def _open_control(system: System, operations: Operations) -> ControlServer:
    """A proxy that cannot be told anything is better than none: then it says so and goes on."""
    try:
        return await system.control.serve(operations.commands().answer)
    except OSError as error:
        _log.warning("no control channel, `pointsman status` and its like cannot reach this proxy: %s", error)
        return _NoControl()


class _NoControl:
    async def close(self) -> None:
        """There is none."""


@contextmanager
def _rare_collections() -> Iterator[None]:
    """What is here by now stays, so the cycle collector need not look at it again and again (docs/performance.md)."""
    previous = gc.get_threshold()
    gc.collect()
    gc.freeze()
    # CPython puts off its look at old objects until a fourth as many are new: a fourth of those that are left, from now
    # on, and not of those that are frozen.
    gc.collect()
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
