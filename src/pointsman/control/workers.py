"""The parent's side of `--workers`: start them, replace one that dies, tell all of them the policy, add up counters.

To the rest of a proxy this is its server (`use`, `serve`, `counters`).  It accepts nothing itself: all workers accept
on the sockets that the parent has bound, so that a connection which nobody has taken yet outlives a worker that dies.
A slot whose worker dies again and again is given up; when none is left, the proxy ends, and connections go direct.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import count
from multiprocessing.connection import Connection
from typing import Any, TextIO

from pointsman.control.seats import Seat
from pointsman.control.settings import Settings
from pointsman.control.worker import STOP, Order, WorkerFailed, WorkerReady, worker_main
from pointsman.errors import Exit, PointsmanError
from pointsman.policy.rules import Policy
from pointsman.server.limits import Counters, Limits
from pointsman.server.listener import Listeners
from pointsman.system.interface import System
from pointsman.wire.abi import LEASE_MIN_MS

START_TIMEOUT = 30.0  # seconds for a worker to become ready
END_TIMEOUT = 5.0  # seconds beyond the draining for one to end
MAX_REPLACEMENTS = 5  # of one slot within REPLACEMENT_SPAN
REPLACEMENT_SPAN = 60.0  # seconds
FLOW_IDS = 1_000_000_000  # of one worker: no two workers of a run give the same id
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What every worker of one proxy has in common."""

    settings: Settings
    make_system: Callable[[], System]
    loop_factory: Callable[[], asyncio.AbstractEventLoop]


class Workers:
    """A `control.seats.Workforce`."""

    def __init__(self, terms: Terms, listeners: Listeners, joined: Callable[[], None], out: TextIO) -> None:
        """`joined` is called after a worker has registered while the proxy was running."""
        self._terms = terms
        self._listeners = listeners
        self._out = out
        self._joined = joined
        self._printing = threading.Lock()
        self._serials = count()
        self._policy = terms.settings.policy
        self._workers: list[_Worker] = []
        self._past = Counters()
        self._stopping = False
        self._all_died = False
        self.replaced = 0
        self.counters = Counters()
        """Live: of all workers, those that have ended too; at most a second behind."""

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    def use(self, policy: Policy) -> None:
        """Decide by this policy, which holds now: its times of day are the parent's business."""
        self._policy = replace(policy, rules=tuple(replace(rule, time=()) for rule in policy.rules))
        for worker in self._workers:
            worker.tell(self._policy)

    async def start(self) -> None:
        """Returns when all of them accept and are registered.  Raises PointsmanError."""
        for _ in range(self._terms.settings.workers):
            self._workers.append(self._hire())
        try:
            await asyncio.gather(*(worker.started() for worker in self._workers))
        except BaseException:
            self._dismiss_now()
            raise

    async def serve(self, listening: Sequence[socket.socket], stop: asyncio.Event) -> None:
        """Until `stop` is set; then the workers drain, as long as the limits say."""
        del listening  # they have them
        keepers = [asyncio.create_task(self._keep(slot)) for slot in range(len(self._workers))]
        stopped = asyncio.create_task(stop.wait())
        all_given_up = asyncio.gather(*keepers)
        either: set[asyncio.Future[Any]] = {stopped, all_given_up}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                all_given_up.result()
                self._all_died = True
                stop.set()
            self._stopping = True
            await asyncio.sleep(0)  # whoever waits for `stop` as well withdraws before the workers stop to accept
            for worker in self._workers:
                worker.tell(STOP)
            await asyncio.wait(keepers, timeout=self._terms.settings.limits.drain_timeout + END_TIMEOUT)
        finally:
            for task in (*keepers, stopped):
                task.cancel()
            self._dismiss_now()
            await asyncio.gather(all_given_up, *keepers, stopped, return_exceptions=True)

    def check(self) -> None:
        """After the end.  Raises PointsmanError PM403 if it came because no worker was left."""
        if self._all_died:
            raise PointsmanError(
                "every worker of the proxy died",
                code="PM403",
                seen=f"each more than {MAX_REPLACEMENTS} times within {REPLACEMENT_SPAN:g} s",
                effect="the proxy has ended; connections go direct (fail open)",
                do="see the log for how they ended; `pointsman run` without --workers shows the first error",
                status=Exit.INTERNAL,
            )

    async def _keep(self, slot: int) -> None:
        """See to it that there is a worker in this slot, for as long as that makes sense."""
        loop = asyncio.get_running_loop()
        deaths: list[float] = []
        while True:
            worker = self._workers[slot]
            await worker.gone.wait()
            self._past = _sum([self._past, replace(worker.counters, open=0)])
            worker.counters = Counters()
            self._add_up()
            if self._stopping:
                return
            deaths = [*(one for one in deaths if loop.time() - one < REPLACEMENT_SPAN), loop.time()]
            if len(deaths) > MAX_REPLACEMENTS:
                _log.error("a worker died %d times within %g s and is not replaced", len(deaths), REPLACEMENT_SPAN)
                return
            _log.warning("worker %d died (%s), it is replaced", worker.pid, worker.ending)
            self.replaced += 1
            self._workers[slot] = self._hire()
            try:
                await self._workers[slot].started()
            except PointsmanError as error:
                _log.warning("%s", error)
                self._workers[slot].dismiss()
                continue
            self._joined()

    def _hire(self) -> _Worker:
        settings, number = self._terms.settings, self._terms.settings.workers
        mine = replace(
            settings, workers=1, policy=self._policy, lease_ms=LEASE_MIN_MS, limits=_share(settings.limits, number)
        )
        seat = Seat(self._listeners.endpoints, self._listeners.sockets, 1 + next(self._serials) * FLOW_IDS)
        encoding = self._out.encoding or "utf-8"
        return _Worker(
            Order(mine, seat, self._terms.make_system, self._terms.loop_factory, encoding), self._print, self._add_up
        )

    def _add_up(self) -> None:
        total = _sum([self._past, *(worker.counters for worker in self._workers)])
        for field in fields(Counters):
            setattr(self.counters, field.name, getattr(total, field.name))

    def _print(self, text: str) -> None:
        """From the threads that listen to workers: one waits for the other, so lines stay whole."""
        with self._printing, suppress(OSError, ValueError):  # a closed pipe costs the records, never the traffic
            print(text, end="", file=self._out, flush=True)

    def _dismiss_now(self) -> None:
        for worker in self._workers:
            worker.dismiss()


class _Worker:
    """One process and the two threads that talk with it."""

    def __init__(self, order: Order, print_lines: Callable[[str], None], counted: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._print = print_lines
        self._counted = counted
        self._orders: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.counters = Counters()
        self.gone = asyncio.Event()
        context = multiprocessing.get_context("spawn")  # a fork would inherit the loop, its threads and its signals
        channel, theirs = context.Pipe()
        self._process = context.Process(target=worker_main, args=(theirs, order), daemon=True)
        self._process.start()
        theirs.close()
        for target in (self._listen, self._speak):
            threading.Thread(target=target, args=(channel,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def ending(self) -> str:
        status = self._process.exitcode
        return f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"

    async def started(self) -> None:
        """Raises PointsmanError."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._ready
        except TimeoutError:
            raise _not_started(f"not ready within {START_TIMEOUT:g} s") from None

    def tell(self, message: object) -> None:
        self._orders.put(message)

    def dismiss(self) -> None:
        """Now.  Harmless when it is gone."""
        self._orders.put(None)
        self._process.kill()

    def _listen(self, channel: Connection) -> None:
        try:
            while True:
                message = channel.recv()
                if isinstance(message, str):
                    self._print(message)
                else:
                    self._loop.call_soon_threadsafe(self._told, message)
        except (EOFError, OSError, RuntimeError):
            pass  # it has ended, or our loop has
        self._process.join()
        self._orders.put(None)
        with suppress(RuntimeError):  # nobody waits any more
            self._loop.call_soon_threadsafe(self._ended)

    def _speak(self, channel: Connection) -> None:
        """What is sent may be large, and a worker slow: not a matter for the event loop."""
        with channel:
            while (message := self._orders.get()) is not None:
                try:
                    channel.send(message)
                except OSError:
                    return  # it has ended; the listening thread says so
            self._process.join()

    def _told(self, message: object) -> None:
        match message:
            case Counters():
                self.counters = message
                self._counted()
            case WorkerReady() if not self._ready.done():
                self._ready.set_result(None)
            case WorkerFailed(error) if not self._ready.done():
                self._ready.set_exception(_not_started(error))

    def _ended(self) -> None:
        if not self._ready.done():
            self._ready.set_exception(_not_started(f"it ended with {self.ending}"))
            self._ready.exception()  # looked at: whoever dismissed it may not wait
        self.gone.set()


def _share(limits: Limits, workers: int) -> Limits:
    """Of one worker.  One connection at a time, so that an idle one has a chance to take the next."""
    return replace(
        limits,
        max_connections=-(-limits.max_connections // workers),
        max_connections_per_app=-(-limits.max_connections_per_app // workers),
        accept_at_once=1,
    )


def _sum(all_of: Sequence[Counters]) -> Counters:
    return Counters(**{field.name: sum(getattr(one, field.name) for one in all_of) for field in fields(Counters)})


def _not_started(seen: str) -> PointsmanError:
    return PointsmanError(
        "a worker of the proxy did not start",
        code="PM402",
        seen=seen,
        effect="if it was the first start, nothing is intercepted (fail open); otherwise the other workers go on",
        do="mend what was seen, or run with one worker",
    )
