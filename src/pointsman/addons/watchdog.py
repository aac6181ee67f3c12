"""End a hook that does not let go of the event loop.

Hooks that have proved fast are called on the loop itself, where one that then blocks would stall every flow.  The
watchdog is a timer that the loop pushes on as long as it turns; if it goes off while a hook runs, `HookStalled` is
raised inside that hook.  Only armed while hooks are called.

On the main thread of a Unix system the timer is a signal (SIGALRM), which gets through sleeps, locks, reads and
regular expressions.  Elsewhere a thread raises it, which the interpreter notices between two bytecodes: that ends
loops, but a call that blocks in C (a lock, `time.sleep`) only after it has come back.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
import threading
import time
from types import FrameType
from typing import Protocol


class HookStalled(BaseException):
    """Not an Exception, so that a hook's own `except Exception` does not take it for its own."""


class Timer(Protocol):
    def start(self, seconds: float) -> None:
        """Go off after `seconds` and then again and again, unless it is started anew or cancelled."""

    def cancel(self) -> None: ...
    def close(self) -> None: ...


class Watchdog:
    def __init__(self, stall: float) -> None:
        """`stall`: seconds that a hook may keep the loop; it is ended after between this and half of it more."""
        self._loop = asyncio.get_running_loop()
        self._stall = stall
        self._is_armed = False
        self._was_used = False
        self.running = False
        """A hook has the loop now.  Set by `begin`, cleared by whoever called it."""
        self._began = 0.0
        self._timer: Timer = _SignalTimer(self) if _signals_reach_us() else _ThreadTimer(self)
        self._turning: asyncio.TimerHandle | None = None

    @property
    def has_stalled(self) -> bool:
        """It is this hook that keeps the loop, and not one of a thousand before it or something else."""
        return self.running and time.perf_counter() - self._began >= self._stall / 2

    def begin(self) -> float:
        """A hook is about to run on the loop.  Inside the same `try` as the hook, `running = False` after it.

        Returns the time of `time.perf_counter`.
        """
        self._was_used = True
        if not self._is_armed:
            self._is_armed = True
            self._timer.start(self._stall)
            self._turning = self._loop.call_later(self._stall / 2, self._turn)
        began = self._began = time.perf_counter()
        self.running = True
        return began

    def _turn(self) -> None:
        """The loop turns."""
        if self._was_used:
            self._was_used = False
            self._timer.start(self._stall)
            self._turning = self._loop.call_later(self._stall / 2, self._turn)
        else:
            self._is_armed = False
            self._timer.cancel()

    def close(self) -> None:
        if self._turning is not None:
            self._turning.cancel()
        self._timer.close()


def raise_in(thread: int, error: type[BaseException]) -> None:
    """In the thread of that identity, at its next bytecode."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _signals_reach_us() -> bool:
    return sys.platform != "win32" and threading.current_thread() is threading.main_thread()


class _SignalTimer:
    def __init__(self, dog: Watchdog) -> None:
        assert sys.platform != "win32", "Windows has no SIGALRM"
        self._dog = dog
        self._previous = signal.signal(signal.SIGALRM, self._gone_off)
        self._is_closed = False

    def _gone_off(self, _number: int, _frame: FrameType | None) -> None:
        if self._dog.has_stalled:
            raise HookStalled

    def start(self, seconds: float) -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, seconds, seconds)

    def cancel(self) -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)

    def close(self) -> None:
        if not self._is_closed and sys.platform != "win32":
            self._is_closed = True
            self.cancel()
            signal.signal(signal.SIGALRM, self._previous)


class _ThreadTimer:
    def __init__(self, dog: Watchdog) -> None:
        self._dog = dog
        self._loop_thread = threading.get_ident()
        self._changed = threading.Condition()
        self._seconds: float | None = None
        self._starts = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._watch, name="addon watchdog", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        with self._changed:
            while not self._is_closed:
                starts = self._starts
                was_changed = self._changed.wait_for(lambda: self._is_closed or self._starts != starts, self._seconds)  # noqa: B023 - called before `starts` is bound again
                if not was_changed and self._dog.has_stalled:
                    raise_in(self._loop_thread, HookStalled)

    def start(self, seconds: float) -> None:
        self._change(seconds)

    def cancel(self) -> None:
        self._change(None)

    def _change(self, seconds: float | None) -> None:
        with self._changed:
            self._seconds = seconds
            self._starts += 1
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()
