"""Starting a program under the trap, and the program once it runs: the machine's side of `launch`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pointsman.errors import Exit, PointsmanError
from pointsman.lab import launch
from pointsman.lab.seccomp import Listener
from pointsman.lab.syscalls import Architecture

START_TIMEOUT = 30.0  # seconds, for a step of the launcher
Stream = int | IO[bytes] | IO[str] | None


@dataclass(frozen=True, slots=True)
class Command:
    argv: Sequence[str]
    environment: Mapping[str, str]
    cwd: str | os.PathLike[str] | None = None
    stdin: Stream = None
    stdout: Stream = None
    stderr: Stream = None
    own_group: bool = False


class Process:
    """A program that the machine started."""

    def __init__(self, popen: subprocess.Popen[bytes], on_exit: Callable[[int], None]) -> None:
        self._popen = popen
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._readable)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; -N if signal N ended it; None while it runs."""
        return self._popen.returncode

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._popen.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        return self._popen.stderr

    async def wait(self) -> int:
        await self._ended.wait()
        assert self._popen.returncode is not None
        return self._popen.returncode

    def send_signal(self, number: int) -> None:
        """Harmless once it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def abandon(self) -> None:
        """It did not become what it should; end it."""
        self.send_signal(signal.SIGKILL)

    def _readable(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._popen.wait()  # it has ended: this does not wait
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # bytes that nobody will read any more
                self.stdin.close()
        self._on_exit(self.pid)
        self._ended.set()


class Launch:
    """One program on its way: the launcher runs, the trap is not yet set."""

    def __init__(self, command: Command) -> None:
        """Raises PointsmanError (PM507) if there is no such directory to start in."""
        self._command = command
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.channel_fd = theirs.fileno()
        """The same number in the launcher, for as long as it has not become the program."""
        self._channel = ours
        ours.setblocking(False)
        try:
            with theirs:
                self.popen = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(Path(launch.__file__)), str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),), cwd=command.cwd, process_group=0 if command.own_group else None,
                    stdin=command.stdin, stdout=command.stdout, stderr=command.stderr,
                )  # fmt: skip
        except OSError as error:
            ours.close()
            raise PointsmanError(
                f"cannot start a program: {error.strerror}",
                code="PM507", seen=f"{error.filename or sys.executable}", effect="the command was not started",
                do="check the working directory and the limits on processes", status=Exit.FAILED,
            ) from error  # fmt: skip

    async def trap(self, arch: Architecture, program: bytes, open_files: int) -> Listener:
        """Have the filter installed.  Raises PointsmanError (PM504) if the kernel refuses."""
        command = self._command
        order = launch.encode_order(
            [os.fsencode(word) for word in command.argv],
            {os.fsencode(name): os.fsencode(value) for name, value in command.environment.items()},
            program, seccomp=arch.seccomp, open_files=open_files,
        )  # fmt: skip
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await asyncio.get_running_loop().sock_sendall(self._channel, order)
                await self._readable()
                reply, fds, _, _ = socket.recv_fds(self._channel, 16, 1)
        except (OSError, TimeoutError) as error:
            raise no_trap(f"the launcher did not answer: {error}") from error
        if reply[:1] != b"L" or not fds:
            number = int.from_bytes(reply[1:5], sys.byteorder)
            raise no_trap(f"seccomp: {os.strerror(number)}" if reply else "the launcher ended")
        os.set_inheritable(fds[0], False)
        return Listener(fds[0], killable=reply[1:2] == b"1")

    async def become(self) -> None:
        """Let the launcher become the program.  Raises PointsmanError (PM501, PM502) if it cannot."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._channel, b"A")
        async with asyncio.timeout(START_TIMEOUT):
            reply = await loop.sock_recv(self._channel, 16)
        if reply[:1] == b"X":
            raise _not_started(self._command.argv[0], int.from_bytes(reply[1:5], sys.byteorder))

    def close(self) -> None:
        self._channel.close()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._channel, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._channel)


def soft_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def no_trap(seen: str) -> PointsmanError:
    return PointsmanError(
        "this kernel cannot trap connect() for us",
        code="PM504", seen=seen, effect="the lab cannot run; nothing was started",
        do="`pointsman lab --check` says what is missing; Linux 5.9 or later, outside a sandbox that forbids seccomp",
        status=Exit.NO_USER_NOTIFICATION,
    )  # fmt: skip


def _not_started(name: str, number: int) -> PointsmanError:
    missing = number in (2, 20)  # ENOENT, ENOTDIR
    return PointsmanError(
        f"cannot start {name!r}: {'not found' if missing else 'not executable'}",
        code="PM501" if missing else "PM502", seen=os.strerror(number), effect="the command was not started",
        do="check its name and PATH" if missing else "check its permissions and its format",
        status=Exit.NOT_FOUND if missing else Exit.NOT_EXECUTABLE,
    )  # fmt: skip
