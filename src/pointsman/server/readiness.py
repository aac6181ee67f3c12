"""Who can read or write now: one epoll for all sockets of a loop, which the event loop watches as a single descriptor.

It decides nothing and knows no streams.  Why not the loop's own `add_reader`: there each socket that is ready costs a
handle of the loop's, uvloop pays seven system calls to learn of a socket, and libuv stops to watch one that has an
error, also when data came along with it (docs/performance.md has what it brings).  epoll(7) has the semantics.
"""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import Callable
from weakref import WeakKeyDictionary

if sys.platform == "linux":  # Windows' Proactor loop knows no readiness at all
    READ, WRITE = select.EPOLLIN, select.EPOLLOUT
else:
    READ, WRITE = 1, 4
AT_ONCE = 128  # sockets served before the loop has its turn

Call = Callable[[int], None]
"""Told what is so now: READ, WRITE, or neither of them for an error, which the next system call tells."""


class Readiness:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Call] = {}
        self._fresh: set[int] = set()
        """Came while others were served: what is known of these numbers is about closed sockets."""

    def fileno(self) -> int:
        return self._epoll.fileno()

    def watch(self, descriptor: int, events: int, call: Call) -> None:
        """From now on, in place of what was asked for before."""
        if descriptor in self._calls:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
            self._fresh.add(descriptor)
        self._calls[descriptor] = call

    def forget(self, descriptor: int) -> None:
        """Before its number can be another's.  Harmless if nobody watches it."""
        if self._calls.pop(descriptor, None) is not None:
            try:
                self._epoll.unregister(descriptor)
            except OSError:
                return  # closed already, of which epoll took note

    def serve(self) -> None:
        """Call whoever waits for what is so; the rest comes up again, since nothing is forgotten by asking."""
        calls, fresh = self._calls, self._fresh
        fresh.clear()
        for descriptor, events in self._epoll.poll(0, AT_ONCE):
            call = calls.get(descriptor)  # None: another one of these has ended it
            if call is not None and descriptor not in fresh:
                call(events)


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Readiness] = WeakKeyDictionary()


def readiness(loop: asyncio.AbstractEventLoop | None = None) -> Readiness:
    """Of this loop, or of the running one: to ask for that is a system call up to Python 3.11."""
    loop = loop or asyncio.get_running_loop()
    found = _of_loop.get(loop)
    if found is None:
        found = _of_loop[loop] = Readiness()
        loop.add_reader(found.fileno(), found.serve)
    return found


def knows_readiness(loop: asyncio.AbstractEventLoop) -> bool:
    """False for Windows' Proactor loop, whose `add_reader` is not implemented."""
    return hasattr(select, "epoll") and type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader
