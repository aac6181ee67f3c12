"""Load across hand-overs: an origin and unforgiving clients (Node), and a lab between them with one proxy after the
other.  `tests/lab/test_handover.py` and `bench/handover.py` drive it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointsman.control.canary import V4, V6
from pointsman.control.commands import ask
from pointsman.demo.internet import make_certificates
from pointsman.lab.flows import KernelFlow
from pointsman.lab.machine import Process
from pointsman.lab.network import Network
from pointsman.lab.session import LabProxy, Session, SessionSettings
from pointsman.lab.system import LabSystem
from pointsman.wire.abi import STATUS_SIZE, Ioctl, decode_status

PROGRAMS = Path(__file__).parent / "programs"
NODE = shutil.which("node")
HOST, ADDRESS = "load.example", "203.0.113.90"
TIMEOUT = 60.0  # seconds, for anything that is waited for


@dataclass
class Load:
    session: Session
    system: LabSystem
    flows: list[KernelFlow]
    proxies: list[LabProxy] = field(default_factory=list)
    clients: Process | None = None

    async def proxy(self, *options: str, on_step: Callable[[str, Process], None] = lambda *_: None) -> LabProxy:
        proxy = await self.session.start_proxy(*options, on_step=on_step)
        self.proxies.append(proxy)
        return proxy

    async def start_clients(self, count: int, pause_ms: int) -> None:
        assert NODE is not None
        self.clients = await self.session.machine.spawn(
            [NODE, str(PROGRAMS / "load_clients.mjs"), HOST, str(count), str(pause_ms)],
            env=self.session.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert await self._line() == "ready"

    async def report(self) -> dict[str, Any]:
        """What the clients have seen until now."""
        assert self.clients is not None and self.clients.stdin is not None
        self.clients.stdin.write(b"report\n")
        self.clients.stdin.flush()
        return dict(json.loads(await self._line()))

    async def until(self, more: int) -> None:
        """So many further requests have been answered."""
        enough = (await self.report())["requests"] + more
        async with asyncio.timeout(TIMEOUT):
            while (await self.report())["requests"] < enough:
                await asyncio.sleep(0.05)

    async def end_clients(self) -> dict[str, Any]:
        assert self.clients is not None and self.clients.stdin is not None
        self.clients.stdin.close()
        told = dict(json.loads(await self._line()))
        assert await asyncio.wait_for(self.clients.wait(), TIMEOUT) == 0
        return told

    async def status(self, proxy: LabProxy) -> dict[str, Any]:
        """Raises OSError if it has ended."""
        return await asyncio.to_thread(ask, self.system, proxy.process.pid, "status")

    async def tell(self, proxy: LabProxy, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(ask, self.system, proxy.process.pid, command, arguments)

    def system_active(self) -> int:
        """The number of the registration to which the driver sends connections now; 0 for none."""
        simulator = self.session.machine.simulator
        device = simulator.open_device(os.getpid())
        try:
            code, reply = simulator.control(device, os.getpid(), Ioctl.STATUS, b"", STATUS_SIZE)
            assert code == 0
            return decode_status(reply).active_registration
        finally:
            simulator.close_device(device)

    async def status_until(self, proxy: LabProxy, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT):
            while not holds(status := await self.status(proxy)):
                await asyncio.sleep(0.05)
        return status

    def close(self) -> None:
        if self.clients is not None and self.clients.stdout is not None:
            self.clients.send_signal(signal.SIGKILL)
            self.clients.stdout.close()

    async def _line(self) -> str:
        assert self.clients is not None and self.clients.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self.clients.stdout.readline), TIMEOUT)
        return line.decode().strip()


@asynccontextmanager
async def open_load() -> AsyncIterator[Load]:
    assert NODE is not None
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ca, chain = make_certificates(directory, [HOST])
        origin = await asyncio.create_subprocess_exec(
            NODE, str(PROGRAMS / "load_origin.mjs"), str(chain), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        stack.push_async_callback(_end, origin)
        assert origin.stdout is not None
        port = int(await asyncio.wait_for(origin.stdout.readline(), TIMEOUT))
        # A canary that is not redirected, since its proxy was killed, must not leave the machine.
        stray = [f"{V4[0]}:{V4[1]}=127.0.0.1:1", f"[{V6[0]}]:{V6[1]}=[::1]:1"]
        network = Network.parse(maps=[f"{ADDRESS}:443=127.0.0.1:{port}", *stray], names=[f"{HOST}={ADDRESS}"])
        flows: list[KernelFlow] = []
        session = await stack.enter_async_context(
            Session(SessionSettings(network, upstream_ca=(ca,)), on_record=lambda _: None, on_flow=flows.append)
        )
        system = LabSystem(str(session.machine.device_path))
        stack.callback(system.close)
        load = Load(session, system, flows)
        stack.callback(load.close)
        yield load


async def _end(origin: asyncio.subprocess.Process) -> None:
    assert origin.stdin is not None
    origin.stdin.close()
    await asyncio.wait_for(origin.wait(), TIMEOUT)
