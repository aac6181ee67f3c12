"""Threads in which hooks run that may block: a few for each addon, with a queue, and given up when they are stuck.

A job that is abandoned before its turn never runs.  One that is running gets `HookStalled` raised in its thread, which
ends loops; a thread that is blocked in C stays until that call comes back, and another takes its place meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from queue import SimpleQueue
from typing import Any

from pointsman.addons.watchdog import HookStalled, raise_in


class State(Enum):
    QUEUED = 1
    RUNNING = 2
    DONE = 3
    ABANDONED = 4


class Job:
    """One call.  `result` is the seconds it took, or the exception that it raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.state = State.QUEUED
        self.thread = 0
        self.value: Any = None
        self.result: asyncio.Future[float] = asyncio.get_running_loop().create_future()


class Lane:
    def __init__(self, name: str, size: int) -> None:
        """`size`: threads at a time, those that are stuck not counted."""
        self._name = name
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._running = 0
        """How many of them are in a call."""
        self._waiting = 0
        self._is_closed = False

    def submit(self, call: Callable[[], Any]) -> Job:
        job = Job(call)
        self._queue.put(job)
        with self._lock:
            self._waiting += 1
            self._start_if_needed()
        return job

    def abandon(self, job: Job) -> bool:
        """Whether it was running: then a thread may be lost to it."""
        with self._lock:
            was_running = job.state is State.RUNNING
            if job.state is not State.DONE:
                job.state = State.ABANDONED
            if was_running:
                self._threads -= 1
                self._running -= 1
                raise_in(job.thread, HookStalled)
                self._start_if_needed()
        return was_running

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            for _ in range(self._threads):
                self._queue.put(None)

    def _start_if_needed(self) -> None:
        idle = self._threads - self._running
        if idle < self._waiting and self._threads < self._size and not self._is_closed:
            self._threads += 1
            threading.Thread(target=self._work, name=f"addon {self._name}", daemon=True).start()

    def _work(self) -> None:
        with suppress(HookStalled):  # raised when the job was all but over
            while (job := self._queue.get()) is not None and self._run(job):
                pass

    def _run(self, job: Job) -> bool:
        """Whether this thread may go on."""
        with self._lock:
            self._waiting -= 1
            if job.state is not State.QUEUED:
                return True
            job.state, job.thread = State.RUNNING, threading.get_ident()
            self._running += 1
        started = time.perf_counter()
        error: BaseException | None = None
        try:
            job.value = job.call()
        except BaseException as raised:  # a thread that dies would take the queue with it
            error = raised
        seconds = time.perf_counter() - started
        with self._lock:
            if job.state is State.ABANDONED:
                return False
            job.state = State.DONE
            self._running -= 1
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_settle, job, seconds, error)
        return True


def _settle(job: Job, seconds: float, error: BaseException | None) -> None:
    if job.result.done():
        return
    if error is None:
        job.result.set_result(seconds)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        job.result.set_exception(error)
    else:  # SystemExit and the like must not end the proxy
        job.result.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))
