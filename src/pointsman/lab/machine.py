"""The lab's machine: a Windows-like kernel around real Linux programs.

It brings the parts together and says when they start and end: the driver on simwfp, the trap of every program it
starts, the device socket through which a proxy reaches the driver, the lab network.  What happens to a connection is
decided in `kernel` and `connects`, not here.

Everything runs in one event loop, on one thread.  The machine is the ancestor of all that it starts, which is what
Linux asks of one who reads a program's memory and shares its sockets; orphans come back to it for the same reason,
and end with it.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pointsman.errors import PointsmanError
from pointsman.lab import processes, seccomp
from pointsman.lab.child import Command, Launch, Process, Stream, no_trap
from pointsman.lab.connects import Connects
from pointsman.lab.datagrams import Datagrams
from pointsman.lab.device import ENVIRONMENT
from pointsman.lab.device_server import DeviceServer
from pointsman.lab.dns import DnsServer, LabRoutes
from pointsman.lab.flows import KernelFlow
from pointsman.lab.kernel import Kernel
from pointsman.lab.network import Network
from pointsman.lab.placement import AddFd, GetFd, Placement
from pointsman.lab.simulator import LIBRARY, Simulator
from pointsman.lab.syscalls import architecture, become_subreaper, pidfd_getfd, user_notification_available
from pointsman.lab.trap import Trap
from pointsman.system.interface import DriverError
from pointsman.system.open_files import raise_open_files

__all__ = ["Machine", "Process"]

OPEN_FILES = 8192  # descriptors: each known process and each connect under way takes one
TEND_EVERY = 1.0  # seconds
GRACE = 2.0  # seconds from SIGTERM to SIGKILL
KILL_ROUNDS = 50  # of 0.1 s: a process that forks faster than that is left to its parent
PlacementName = Literal["getfd", "addfd"]


class Machine:
    """`async with Machine() as machine: ...`; one at a time in a process."""

    def __init__(
        self,
        *,
        network: Network | None = None,
        on_flow: Callable[[KernelFlow], None] | None = None,
        placement: PlacementName | None = None,
        simulator: Simulator | None = None,
    ) -> None:
        """`placement`: None tries pidfd_getfd first; `simulator`: one that outlives the machine."""
        self._network = network or Network()
        self._on_flow = on_flow
        self._placement_name = placement
        self._given_simulator = simulator
        self._programs: dict[int, Process] = {}
        self._traps: list[Trap] = []
        self._handlers: tuple[Connects, Datagrams, Placement] | None = None
        self._routes = LabRoutes(self._network)
        self._tender: asyncio.TimerHandle | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises PointsmanError: no trap on this kernel (PM504), no driver to load (PM505)."""
        self._loop = asyncio.get_running_loop()
        arch = architecture()
        if arch is None:
            raise no_trap(f"a {platform.machine()} processor")
        if not user_notification_available(arch):
            raise no_trap("seccomp(2) knows no user notification, or is forbidden here")
        self._arch = arch
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def device_path(self) -> Path:
        return self._directory / "device"

    @property
    def simulator(self) -> Simulator:
        return self.kernel.simulator

    @property
    def unseen(self) -> int:
        """Calls that went on without having been looked at, since their program hides its memory."""
        return sum(trap.unseen for trap in self._traps)

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        udp_sends: bool = True,
        own_group: bool = False,
    ) -> Process:
        """Start a program under the trap.

        Args:
            udp_sends: trap sends that name a destination; without, only connect() is seen.
            own_group: a process group of its own, so that Ctrl-C of the terminal does not reach it.

        Raises:
            PointsmanError: it is not found (PM501), not executable (PM502), or cannot be trapped (PM504).
        """
        environment = {**(os.environ if env is None else env), ENVIRONMENT: str(self.device_path)}
        command = Command(argv, environment, cwd, stdin, stdout, stderr, own_group)
        launching = Launch(command)
        process = Process(launching.popen, self._program_exited)
        self._programs[process.pid] = process
        try:
            connects, datagrams, placement = self._prepare(process.pid, launching.channel_fd)
            program = seccomp.program(self._arch, udp_sends=udp_sends, sockets=placement.traps_sockets)
            listener = await launching.trap(self._arch, program, self._open_files)
            self._traps.append(
                Trap(self._loop, listener, self._arch, connects=connects, datagrams=datagrams, placement=placement)
            )
            await launching.become()
        except BaseException:
            process.abandon()
            await process.wait()
            raise
        finally:
            launching.close()
        return process

    async def _start(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="pointsman-lab-"))  # mode 0700
        self._stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
        simulator = self._given_simulator
        if simulator is None:
            simulator = _load_driver()
            self._stack.callback(simulator.close)
        self._raise_limit()
        become_subreaper(True)
        self._stack.callback(become_subreaper, False)
        self._devices: DeviceServer | None = None
        self.kernel = Kernel(simulator, on_flow=self._on_flow, on_exit=self._known_process_exited)
        self._stack.callback(self.kernel.close)
        self._devices = DeviceServer(self.kernel, lambda pid: processes.descends_from(pid, os.getpid()))
        self._stack.callback(self._devices.close)
        await self._devices.start(self.device_path)
        if self._network.names:
            server = DnsServer(self._network.names)
            self._stack.push_async_callback(server.close)
            self._routes = await server.start(self._network)
        self._stack.callback(self._close_traps)
        self._stack.push_async_callback(self._end_programs)
        self._tender = self._loop.call_later(TEND_EVERY, self._tend)

    def _raise_limit(self) -> None:
        self._open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        before = raise_open_files(OPEN_FILES)
        if before is not None:
            self._stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)

    def _prepare(self, pid: int, fd: int) -> tuple[Connects, Datagrams, Placement]:
        """Find out, by the first program, how sockets are to be had; build what depends on it."""
        if self._handlers is None:
            placement: Placement
            name = self._placement_name or ("getfd" if _can_duplicate(pid, fd) else "addfd")
            if name == "getfd":
                placement = GetFd()
            else:
                placement = AddFd(self._loop, self._arch, lambda: processes.descendants(os.getpid()))
            self._handlers = (
                Connects(self.kernel, placement, self._routes),
                Datagrams(self.kernel, placement, self._routes, self._arch),
                placement,
            )
        return self._handlers

    def _program_exited(self, pid: int) -> None:
        self._programs.pop(pid, None)
        self.kernel.processes.exited(pid)  # whoever waited for it finds the driver knowing

    def _known_process_exited(self, pid: int) -> None:
        if self._devices is not None:
            self._devices.process_exited(pid)

    def _tend(self) -> None:
        """What nothing tells us of: orphans that ended, sockets that nobody has any more, traps that are empty."""
        self._reap_orphans()
        if self._handlers is not None:
            self._handlers[2].sweep()
        self._traps = [trap for trap in self._traps if trap.open or trap.unseen]
        self._tender = self._loop.call_later(TEND_EVERY, self._tend)

    def _orphans(self) -> Iterable[int]:
        """Children that we did not start: under more filters than we are, so not someone else's in this process."""
        own = processes.filters(os.getpid())
        for pid in processes.children(os.getpid()):
            if pid not in self._programs and processes.filters(pid) > own:
                yield pid

    def _reap_orphans(self) -> None:
        for pid in self._orphans():
            try:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    self.kernel.processes.exited(pid)
            except ChildProcessError:
                continue  # reaped meanwhile

    async def _end_programs(self) -> None:
        if self._tender is not None:
            self._tender.cancel()
        for number in (signal.SIGTERM, signal.SIGCONT):
            for program in list(self._programs.values()):
                program.send_signal(number)
        try:
            async with asyncio.timeout(GRACE):
                for program in list(self._programs.values()):
                    await program.wait()
        except TimeoutError:
            for program in list(self._programs.values()):
                program.abandon()
        for program in list(self._programs.values()):
            await program.wait()
        for _ in range(KILL_ROUNDS):
            self._reap_orphans()
            orphans = set(self._orphans())
            if not orphans:
                break
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)  # our own unreaped child: the PID is its
            await asyncio.sleep(0.01)

    def _close_traps(self) -> None:
        for trap in self._traps:
            trap.close()
        if self._handlers is not None:
            self._handlers[2].close()


def _load_driver() -> Simulator:
    try:
        return Simulator()
    except (OSError, DriverError) as error:
        raise PointsmanError(
            "cannot load the driver into the lab",
            code="PM505", seen=str(error), effect="the lab cannot run; nothing was started",
            do=f"`make lib` builds {LIBRARY.name}; an installed pointsman brings it",
        ) from error  # fmt: skip


def _can_duplicate(pid: int, fd: int) -> bool:
    pidfd = os.pidfd_open(pid)
    try:
        os.close(pidfd_getfd(pidfd, fd))
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True
