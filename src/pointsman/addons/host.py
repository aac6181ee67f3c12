"""The addon host: ask the addons about what passes, and let none of them hold anything up.

A hook that fails, or does not answer within its budget, is reported with addon, hook and flow, and counted; the flow
goes on as it was before that hook.  Who listens to what may change at any time (`files.AddonFiles` loads anew).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from pointsman.addons import reports
from pointsman.addons.elsewhere import ClientContext, look_up, needs_look_up, send_elsewhere, wants_another_way
from pointsman.addons.inject import CARRIERS, INJECT
from pointsman.addons.lane import Lane
from pointsman.addons.listener import Limits, Listener
from pointsman.addons.reports import Counters
from pointsman.addons.script import FLOW_HOOKS, Script
from pointsman.addons.snapshot import Snapshot, remember, restore
from pointsman.addons.stepping import stepping
from pointsman.addons.transform import GuardedTransform
from pointsman.addons.watchdog import HookStalled, Watchdog
from pointsman.engine.messages import ConnectionNotice, HttpFlow, Subject, TcpMessage, Transform

_log = logging.getLogger(__name__)
_NO_LOOP = "no running event loop"
_SETTLED = ("responseheaders", "requestheaders", "request", "server_connect")


@dataclass(eq=False, slots=True)
class LoadedFile:
    """A file at work: where its hooks run, and how much it has done wrong."""

    script: Script
    lane: Lane
    """One thread: hooks of one file see each other's doings one at a time, as their authors expect."""
    concurrent_lane: Lane
    listeners: list[Listener] = field(default_factory=list)
    pending: int = 0
    stuck: int = 0
    said_full: bool = False


class AddonHost:
    """`server.connection_task.Hooks`."""

    def __init__(self, limits: Limits, client_context: ClientContext) -> None:
        """In a running loop."""
        self.limits = limits
        self.counters = Counters()
        self.wanted: frozenset[str] = frozenset()
        """Names of hooks that somebody listens to now."""
        self.client_context = client_context
        self._loop = asyncio.get_running_loop()
        self.dog = Watchdog(limits.stall)
        """Watches whatever of an addon runs on the loop."""
        self._files: list[LoadedFile] = []
        self._listeners: dict[str, tuple[tuple[Listener, LoadedFile], ...]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: tuple[str, Subject] | None = None
        """All listeners, by `answer`; what follows from that is for `run`, which comes next."""

    # Who listens.

    def load(self, script: Script) -> LoadedFile:
        """Not listened to before `use`."""
        file = LoadedFile(script, Lane(script.source, 1), Lane(script.source, self.limits.concurrent))
        for hook in sorted(FLOW_HOOKS):
            for addon, function in script.hook(hook):
                name = script.source if addon is script.module else f"{script.source} ({type(addon).__name__})"
                file.listeners.append(Listener(name, hook, function, self.limits))
        return file

    def use(self, files: Sequence[LoadedFile]) -> None:
        self._files = list(files)
        self._set_listeners()

    def _set_listeners(self) -> None:
        found: dict[str, list[tuple[Listener, LoadedFile]]] = {}
        for file in self._files:
            for listener in file.listeners:
                if not listener.off:
                    found.setdefault(listener.hook, []).append((listener, file))
        self._listeners = {hook: tuple(pairs) for hook, pairs in found.items()}
        self.wanted = frozenset(found) if found.keys().isdisjoint(CARRIERS) else frozenset((*found, INJECT))

    async def close(self) -> None:
        """Give up what still waits."""
        self.use(())
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.limits.stall)
        self.dog.close()

    # What the engine asks.

    def run(self, hook: str, subject: Subject, done: Callable[[], None]) -> bool:
        """Whether it is over already; if not, `done` is called once, from the event loop."""
        if hook == INJECT:
            return _wait_for_injections(subject, done)
        listeners = self._listeners.get(hook, ())
        if self._asked is not None:
            (asked_hook, asked), self._asked = self._asked, None
            if asked is subject and asked_hook == hook:
                listeners = ()
        for index, (listener, _) in enumerate(listeners):
            if listener.inline:
                self._call_inline(listener, subject)
            else:
                self._start(self._run_rest(hook, listeners[index:], subject), done)
                return False
        if hook in _SETTLED and self._needs_more(hook, subject):
            self._start(self._run_rest(hook, (), subject), done)
            return False
        return True

    def answer(self, hook: str, subject: Subject) -> bool:
        """As `run`, if that would be over at once; otherwise nobody was asked, and it has to be run.

        What listeners have made of a request may still take a while: then `run` goes on from there.
        """
        listeners = self._listeners.get(hook, ())
        for listener, _ in listeners:
            if not listener.inline:
                return False
        for listener, _ in listeners:
            self._call_inline(listener, subject)
        if hook in _SETTLED and self._needs_more(hook, subject):
            self._asked = hook, subject
            return False
        return True

    async def ask(self, hook: str, subject: Subject) -> None:
        """As `run`; returns when it is over."""
        over = asyncio.Event()
        if not self.run(hook, subject, over.set):
            await over.wait()

    async def _run_rest(self, hook: str, listeners: Sequence[tuple[Listener, LoadedFile]], subject: Subject) -> None:
        for listener, file in listeners:
            if listener.off:
                continue
            if listener.inline:
                self._call_inline(listener, subject)
            else:
                await self._call_slowly(listener, file, subject)
        if hook in _SETTLED and self._needs_more(hook, subject):
            if isinstance(subject, HttpFlow):
                await send_elsewhere(subject, self.client_context)
            elif isinstance(subject, ConnectionNotice):
                await look_up(subject.server)

    def _needs_more(self, hook: str, subject: Subject) -> bool:
        """After the last listener of a hook after which more than the flow's own values counts: whether there is
        something to wait for."""
        if hook == "server_connect" and isinstance(subject, ConnectionNotice):
            return not subject.killed and subject.server.error is None and needs_look_up(subject.server)
        if not isinstance(subject, HttpFlow):
            return False
        request = subject.request
        if hook == "request" and request.raw_content is None:
            return False  # streamed, and gone
        if hook == "responseheaders":
            if subject.response is not None and callable(subject.response.stream):
                subject.response.stream = self._guarded(subject, hook, subject.response.stream)
            return False
        if hook == "requestheaders" and callable(request.stream):
            request.stream = self._guarded(subject, hook, request.stream)
        hosts = [] if request.headers.is_as_read("host") else request.headers.get_all("host")
        if hosts and hosts[0] != request.authority:  # addons write the header; the engine goes by the authority
            request.authority = hosts[0]
        if request.server is None and not wants_another_way(subject):
            return False
        if subject.response is not None or subject.killed:
            return False
        if hook == "requestheaders" and _has_body(subject):
            return "request" not in self.wanted  # else when its body is here
        return True

    def _guarded(self, flow: HttpFlow, hook: str, transform: Transform) -> GuardedTransform:
        if isinstance(transform, GuardedTransform):
            return transform

        def failed(error: BaseException) -> None:
            self.counters.calls_failed += 1
            what = "held the event loop" if isinstance(error, HookStalled) else f"{type(error).__name__}: {error}"
            reports.transform_failed(hook, flow, what)

        return GuardedTransform(transform, self.dog, failed)

    def _start(self, work: Coroutine[Any, Any, None], done: Callable[[], None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)

        def over(task: asyncio.Task[None]) -> None:
            # Not the coroutine's business: one that is cancelled before its first step never runs.
            self._tasks.discard(task)
            if not task.cancelled() and (bug := task.exception()) is not None:
                _log.error("a bug of ours while addons were asked: %s", bug, exc_info=bug)
            done()

        task.add_done_callback(over)

    # One call.

    def _call_inline(self, listener: Listener, subject: Subject) -> None:
        before = remember(subject)
        dog = self.dog
        started = 0.0
        try:
            try:
                started = dog.begin()
                listener.function(subject)
            finally:
                dog.running = False
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # nothing that an addon raises may end the connection, or the proxy
            restore(subject, before)
            self._failed(listener, subject, error)
        taken = time.perf_counter() - started
        if taken > self.limits.slow and listener.was_slow(started, self.limits):
            reports.demoted(listener, taken, self.limits)

    async def _call_slowly(self, listener: Listener, file: LoadedFile, subject: Subject) -> None:
        if file.pending >= self.limits.pending:
            self._refuse(listener, file)
            return
        before = remember(subject)
        file.pending += 1
        try:
            if listener.is_async:
                await self._call_coroutine(listener, file, subject, before)
            else:
                await self._call_in_thread(listener, file, subject, before)
        finally:
            file.pending -= 1

    async def _call_coroutine(self, listener: Listener, file: LoadedFile, subject: Subject, before: Snapshot) -> None:
        task = self._loop.create_task(stepping(listener.function(subject), self.dog))
        try:
            await asyncio.wait({task}, timeout=listener.budget)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            task.cancel()
            # It may refuse to be cancelled: then it is left alone, and counted like a lost thread.
            self._tasks.add(task)
            task.add_done_callback(self._forget)
            await asyncio.sleep(0)
            restore(subject, before)
            self._timed_out(listener, file, subject, is_stuck=not task.done())
        elif not task.cancelled() and (error := task.exception()) is not None:
            restore(subject, before)
            self._failed(listener, subject, error)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it was reported when its time was over

    async def _call_in_thread(self, listener: Listener, file: LoadedFile, subject: Subject, before: Snapshot) -> None:
        lane = file.concurrent_lane if listener.is_concurrent else file.lane
        job = lane.submit(lambda: listener.function(subject))
        try:
            async with asyncio.timeout(listener.budget):
                listener.took(await job.result, self.limits)
        except TimeoutError:
            was_running = lane.abandon(job)
            restore(subject, before)
            self._timed_out(listener, file, subject, is_stuck=was_running)
        except asyncio.CancelledError:
            lane.abandon(job)
            raise
        except Exception as error:
            restore(subject, before)
            if isinstance(error, RuntimeError) and _NO_LOOP in str(error):
                # It starts tasks, say: then the loop is where it has to be.
                listener.inline = listener.proved = True
                self._call_inline(listener, subject)
            else:
                self._failed(listener, subject, error)

    def on_loop(self, function: Callable[..., Any], *arguments: object) -> None:
        """What an addon does at other times than for a flow.  Raises what it raises, or HookStalled."""
        try:
            self.dog.begin()
            function(*arguments)
        finally:
            self.dog.running = False

    # What went wrong.

    def _failed(self, listener: Listener, subject: Subject, error: BaseException) -> None:
        listener.calls_failed += 1
        if isinstance(error, HookStalled):
            self.counters.stalls += 1
            listener.demote()
            reports.stalled(listener, subject, self.limits)
        else:
            self.counters.calls_failed += 1
            reports.failed(listener, subject, error)

    def _timed_out(self, listener: Listener, file: LoadedFile, subject: Subject, *, is_stuck: bool) -> None:
        self.counters.calls_timed_out += 1
        listener.calls_failed += 1
        listener.demote()
        reports.timed_out(listener, subject)
        file.stuck += is_stuck
        if file.stuck >= self.limits.stuck and not all(one.off for one in file.listeners):
            for one in file.listeners:
                one.off = True
            self._set_listeners()
            reports.switched_off(file.script.source, file.stuck)

    def _refuse(self, listener: Listener, file: LoadedFile) -> None:
        self.counters.refused += 1
        if not file.said_full:
            file.said_full = True
            reports.full(listener, file.pending)


def _wait_for_injections(subject: Subject, done: Callable[[], None]) -> bool:
    injections = None
    if isinstance(subject, HttpFlow):
        injections = subject.websocket.injections if subject.websocket is not None else None
    elif isinstance(subject, TcpMessage):
        injections = subject.injections
    return injections is None or injections.wait(done)


def _has_body(flow: HttpFlow) -> bool:
    if flow.request.raw_content:
        return True
    headers = flow.request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
