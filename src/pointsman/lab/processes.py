"""Which Linux processes the simulated kernel knows, and for how long.

A process becomes known when it first matters (it connects, or opens the device), together with its ancestors up to the
machine, since policy has rules on them.  A pidfd tells of its end, however it ended.  While that pidfd is not
readable its PID cannot have been reused, so a known PID needs no second look but one: exec() puts another program
into the same process, which Windows has no word for; to WFP it is one process that exits and another that starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass

from pointsman.lab.app_id import app_id, nt_path
from pointsman.lab.flows import windows_time
from pointsman.lab.simulator import Simulator

MAX_PROCESSES = 1024
MAX_ANCESTORS = 16
MAX_GENERATIONS = 256
_PF_EXITING = 0x4  # include/linux/sched.h, field 9 of /proc/PID/stat
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """What we need of /proc/PID/stat."""

    state: str
    parent: int
    exiting: bool
    start: int
    """Clock ticks since boot."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownProcess:
    pid: int
    parent: int
    image: str
    """Linux path of its program."""
    app_id: bytes
    start: int
    """100 ns since 1601."""
    pidfd: int


def read_stat(pid: int) -> Stat:
    """Raises OSError if there is no such process."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name may hold spaces and parentheses; the last one ends it.
        fields = file.read().rpartition(b")")[2].split()
    return Stat(fields[0].decode(), int(fields[1]), bool(int(fields[6]) & _PF_EXITING), int(fields[19]))


def thread_group(tid: int) -> int:
    """The process of a thread.  Raises OSError if the thread is gone."""
    with open(f"/proc/{tid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"Tgid:"):
                return int(line[5:])
    raise ProcessLookupError(f"thread {tid} has no process")


def descendants(pid: int) -> set[int]:
    """Every process below `pid`, as far as it can be seen at this moment."""
    found: set[int] = set()
    queue = [pid]
    while queue:
        parent = queue.pop()
        for child in children(parent) - found:
            found.add(child)
            queue.append(child)
    return found


def children(pid: int) -> set[int]:
    found: set[int] = set()
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/children", "rb") as file:
                found.update(map(int, file.read().split()))
    except OSError:
        return found  # it, or a thread of it, ended just now
    return found


def descends_from(pid: int, ancestor: int) -> bool:
    for _ in range(MAX_GENERATIONS):
        if pid == ancestor:
            return True
        if pid <= 1:
            return False
        try:
            pid = read_stat(pid).parent
        except OSError:
            return False  # it is gone
    return False


def filters(pid: int) -> int:
    """How many seccomp filters bind a process, also a dead one that nobody has waited for."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            fields = dict(line.split(b":", 1) for line in file)
    except OSError:
        return 0  # it is gone
    # Seccomp_filters came with Linux 5.9; before it only whether there are any is told.
    return int(fields.get(b"Seccomp_filters", fields.get(b"Seccomp", b"0")))


class Processes:
    """Not thread-safe; belongs to the machine's event loop."""

    def __init__(self, simulator: Simulator, on_exit: Callable[[int], None]) -> None:
        self._simulator = simulator
        self._on_exit = on_exit
        self._known: dict[int, KnownProcess] = {}
        self._holders: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def __len__(self) -> int:
        return len(self._known)

    def of_thread(self, tid: int) -> KnownProcess:
        """The process of a trapped thread, made known to the driver.  Raises OSError if it is gone."""
        # A known PID is the id of that process's first thread, so only other threads need looking up.
        known = self._current(tid, tid)
        if known is not None:
            return known
        pid = thread_group(tid)
        return self._current(pid, tid) or self._introduce(pid, tid, MAX_ANCESTORS)

    def of_pid(self, pid: int) -> KnownProcess:
        """One that holds the device: known for as long as it lives.  Raises OSError if it is gone."""
        process = self._current(pid, pid) or self._introduce(pid, pid, MAX_ANCESTORS)
        self._holders.add(pid)
        return process

    def exited(self, pid: int) -> None:
        """Tell the driver that a process ended; harmless if it was told before."""
        process = self._known.pop(pid, None)
        self._holders.discard(pid)
        if process is None:
            return
        self._loop.remove_reader(process.pidfd)
        os.close(process.pidfd)
        self._simulator.process_exited(pid)
        self._on_exit(pid)

    def settle(self, pid: int) -> None:
        """Report the end of a process now if it is on its way out: its sockets close before its pidfd tells."""
        try:
            stat = read_stat(pid)
        except OSError:
            self.exited(pid)
            return
        if stat.exiting or stat.state in "ZX":
            self.exited(pid)

    def close(self) -> None:
        for pid in list(self._known):
            self.exited(pid)

    def _current(self, pid: int, tid: int) -> KnownProcess | None:
        """A known process that still lives and still runs the same program; `tid` is a thread of it that lives."""
        known = self._known.get(pid)
        if known is None:
            return None
        try:
            image = os.readlink(f"/proc/{tid}/exe")
        except OSError:
            image = ""  # gone
        if image == known.image and not _readable(known.pidfd):
            return known
        self.exited(pid)
        return None

    def _introduce(self, pid: int, tid: int, ancestors: int) -> KnownProcess:
        pidfd = os.pidfd_open(pid)
        try:
            stat = read_stat(pid)
            image = os.readlink(f"/proc/{tid}/exe")
        except OSError:
            os.close(pidfd)
            raise
        if ancestors and stat.parent > 1 and pid != os.getpid() and self._current(stat.parent, stat.parent) is None:
            with contextlib.suppress(OSError):  # it ended just now, or may not be looked at: the child counts without
                self._introduce(stat.parent, stat.parent, ancestors - 1)
        self._make_room()
        start = windows_time(self._booted + stat.start / _TICKS_PER_SECOND)
        process = KnownProcess(pid, stat.parent, image, app_id(image), start, pidfd)
        self._known[pid] = process
        self._loop.add_reader(pidfd, self.exited, pid)
        self._simulator.process_started(pid, parent=stat.parent, start=start, image=nt_path(image))
        return process

    def _make_room(self) -> None:
        if len(self._known) >= MAX_PROCESSES:
            # The one known longest that could not be a proxy; if it still connects it is introduced anew.
            forgotten = next((pid for pid in self._known if pid not in self._holders), None)
            if forgotten is not None:
                self.exited(forgotten)


def _readable(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
