"""How long until connections go direct when the proxy is gone.

    python bench/time_to_direct.py kill|hang|suspend [ROUNDS]

    kill      SIGKILL
    hang      the event loop blocks: its standard output is a pipe that is full, and nobody reads it
    suspend   SIGSTOP

A real `pointsman run` with the default lease in the lab; the driver is asked, once a millisecond, what it would do
with a connection, from the fault on until the answer is "direct".  Faults come at random moments of the lease.
Start it in a session that stays: when the shell of a background job ends, the kernel continues its stopped processes.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from pointsman.lab.app_id import app_id
from pointsman.lab.machine import Machine, Process
from pointsman.lab.network import Network
from pointsman.lab.simulator import ConnectRequest

DESTINATION = (ip_address("203.0.113.80"), 443)
NOWHERE = "203.0.113.80:443=127.0.0.1:1"  # refused at once: no packet leaves the machine, and the record comes soon
UNBOUND = (ip_address(0), 0)
TCP = 6
RECORD_TIMEOUT = 2.0  # seconds
POLL = 0.001  # seconds: the resolution of what is measured
CALLER = """
import socket, sys
for _ in sys.stdin:
    with socket.socket() as s:
        try:
            s.connect((sys.argv[1], int(sys.argv[2])))
            s.recv(1)
        except OSError:
            pass  # reset, since the proxy reaches nobody: now it has something to report
"""


async def poll(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nothing tells of it, which is what is measured
        await asyncio.sleep(POLL)


class Bench:
    def __init__(self, machine: Machine, directory: Path) -> None:
        self.machine = machine
        self.directory = directory
        self.read_end, self.write_end = os.pipe()
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.read_end, False)
        self.proxy: Process | None = None

    def is_redirected(self) -> bool:
        outcome = self.machine.simulator.connect(
            ConnectRequest(
                pid=os.getpid(), app_id=app_id("/bin/app"), protocol=TCP, local=UNBOUND,
                remote=DESTINATION, endpoint=1, records=0,
            )
        )  # fmt: skip
        if outcome.flow:
            self.machine.simulator.close_flow(outcome.flow)
        return bool(outcome.flow)

    async def until(self, redirected: bool) -> float:
        await poll(lambda: self.is_redirected() == redirected)
        return time.monotonic()

    async def start(self) -> None:
        self.proxy = await self.machine.spawn(
            [sys.executable, "-P", "-m", "pointsman", "run", "--ca", str(self.directory)],
            stdin=subprocess.DEVNULL, stdout=self.write_end, udp_sends=False,
        )  # fmt: skip
        await self.until(redirected=True)
        self.empty()

    def fill(self) -> None:
        """On a description of our own: the proxy's stays blocking."""
        own = os.open(f"/proc/self/fd/{self.write_end}", os.O_WRONLY | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(own, b"x" * 512)
        os.close(own)

    def empty(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self.read_end, 65536):
                continue

    async def until_blocked(self, caller: Process) -> float:
        """write(1, ...) as the system call that the main thread is in."""
        assert self.proxy is not None and caller.stdin is not None
        call = Path(f"/proc/{self.proxy.pid}/syscall")
        while True:
            caller.stdin.write(b"connect\n")  # its record is what the proxy blocks on
            caller.stdin.flush()
            # On a busy machine the lease may just be over: that connection went direct and left no record.
            with suppress(TimeoutError):
                async with asyncio.timeout(RECORD_TIMEOUT):
                    await poll(lambda: call.read_text().split()[:2] == ["1", "0x1"])
                    return time.monotonic()


async def kill(bench: Bench) -> float:
    assert bench.proxy is not None
    started = time.monotonic()
    bench.proxy.send_signal(signal.SIGKILL)
    ended = await bench.until(redirected=False)
    await bench.proxy.wait()
    await bench.start()
    return ended - started


async def suspend(bench: Bench) -> float:
    assert bench.proxy is not None
    started = time.monotonic()
    bench.proxy.send_signal(signal.SIGSTOP)
    ended = await bench.until(redirected=False)
    bench.proxy.send_signal(signal.SIGCONT)
    await bench.until(redirected=True)
    return ended - started


async def hang(bench: Bench, caller: Process) -> float:
    bench.fill()
    started = await bench.until_blocked(caller)
    ended = await bench.until(redirected=False)
    while not bench.is_redirected():
        bench.empty()
        await asyncio.sleep(0.01)
    return ended - started


async def main(fault: str, rounds: int) -> None:
    times: list[float] = []
    with TemporaryDirectory() as directory:
        async with Machine(network=Network.parse(maps=[NOWHERE])) as machine:
            bench = Bench(machine, Path(directory))
            await bench.start()
            arguments = [sys.executable, "-c", CALLER, str(DESTINATION[0]), str(DESTINATION[1])]
            caller = await machine.spawn(arguments, stdin=subprocess.PIPE)
            for _ in range(rounds):
                await asyncio.sleep(random.uniform(0.5, 1.5))
                match fault:
                    case "kill":
                        times.append(await kill(bench))
                    case "suspend":
                        times.append(await suspend(bench))
                    case "hang":
                        times.append(await hang(bench, caller))
            assert bench.proxy is not None
            bench.empty()
            bench.proxy.send_signal(signal.SIGKILL)
            await bench.proxy.wait()
            caller.send_signal(signal.SIGKILL)
            await caller.wait()
    told = {
        "fault": fault,
        "rounds": len(times),
        "median_ms": statistics.median(times) * 1e3,
        "worst_ms": max(times) * 1e3,
    }
    print(json.dumps({key: round(value, 2) if isinstance(value, float) else value for key, value in told.items()}))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("kill", "hang", "suspend"):
        raise SystemExit(__doc__)
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100))
