"""A worker process: a whole proxy on listening sockets that it was given, told what to do by its parent.

Between the two goes a private pipe.  Down: `Policy` (decide by this one from now on), `STOP` (drain, and end); the end
of the pipe means the same.  Up: `WorkerReady`, `Counters` once a second, and text, which are lines for standard output.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, TextIO, cast

from pointsman.control.proxy import Ready, run_proxy
from pointsman.control.seats import Seat
from pointsman.control.settings import Settings
from pointsman.control.stand_by import StandBySystem
from pointsman.errors import PointsmanError
from pointsman.policy.rules import Policy
from pointsman.system.interface import System

STOP = "stop"
COUNTERS_EVERY = 1.0  # seconds
_TERMINATION = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """It accepts, and is registered."""

    registration: int


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    """It could not start; the text is for people."""

    error: str


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker needs to know to begin; everything in it can be sent to another process."""

    settings: Settings
    seat: Seat
    make_system: Callable[[], System]
    loop_factory: Callable[[], asyncio.AbstractEventLoop]
    encoding: str


class _Lines:
    """As much of a text file as a flow log needs; what is written goes up the pipe."""

    def __init__(self, channel: Connection, sending: threading.Lock, encoding: str) -> None:
        self._channel = channel
        self._sending = sending
        self.encoding = encoding

    def write(self, text: str) -> int:
        if text:
            with self._sending:
                self._channel.send(text)
        return len(text)

    def flush(self) -> None:
        pass


def worker_main(channel: Connection, order: Order) -> None:
    """Runs in the process of the worker, to its end."""
    for number in _TERMINATION:  # of the whole group at a terminal; the parent says when to end
        signal.signal(number, signal.SIG_IGN)
    sending = threading.Lock()
    try:
        with asyncio.Runner(loop_factory=order.loop_factory) as runner:
            runner.run(_run(channel, order, sending))
    except PointsmanError as error:
        _tell(channel, sending, WorkerFailed(str(error)))


async def _run(channel: Connection, order: Order, sending: threading.Lock) -> None:
    loop = asyncio.get_running_loop()
    is_ready: asyncio.Future[Ready] = loop.create_future()
    out = cast("TextIO", _Lines(channel, sending, order.encoding))
    system = StandBySystem(order.make_system())
    proxy = asyncio.create_task(
        run_proxy(order.settings, system, is_ready.set_result, out=out, seat=order.seat), name="the proxy of a worker"
    )
    either: set[asyncio.Future[Any]] = {proxy, is_ready}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if is_ready.done():
        ready = is_ready.result()
        threading.Thread(target=_listen, args=(channel, loop, ready), daemon=True).start()
        _tell(channel, sending, WorkerReady(ready.registration))
        while not proxy.done():
            await asyncio.wait({proxy}, timeout=COUNTERS_EVERY)
            _tell(channel, sending, replace(ready.counters))
    try:
        await proxy  # raises what it could not start for
    finally:
        system.close()


def _tell(channel: Connection, sending: threading.Lock, message: object) -> None:
    with sending, suppress(OSError):  # the parent is gone: we drain and end
        channel.send(message)


def _listen(channel: Connection, loop: asyncio.AbstractEventLoop, ready: Ready) -> None:
    """In a thread of its own: a pipe is read in the same way on every system."""
    try:
        while isinstance(message := channel.recv(), Policy):
            loop.call_soon_threadsafe(ready.use, message)
    except (EOFError, OSError):
        pass  # the parent is gone
    with suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(ready.stop)
