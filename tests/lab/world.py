"""The lab around real programs: a machine for each way of placing sockets, a proxy, and servers on loopback."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pointsman.lab.flows import KernelFlow
from pointsman.lab.machine import Machine, PlacementName, Process
from pointsman.lab.network import Network
from pointsman.wire.abi import LEASE_MAX_MS

PROGRAMS = Path(__file__).parent / "programs"
ORIGIN = "203.0.113.10"
BLOCKED = "203.0.113.66"
REDIRECTED = "203.0.113.80"
REDIRECTED_V6 = "2001:db8::80"
ORIGIN_V6 = "2001:db8::10"
TIMEOUT = 30.0  # seconds, for anything that a test waits for


@dataclass
class Finished:
    status: int
    out: str
    err: str


@dataclass
class Lab:
    """A running machine, and what the driver said in it."""

    machine: Machine
    flows: list[KernelFlow] = field(default_factory=list)
    proxies: list[Proxy] = field(default_factory=list)

    async def run(self, *argv: str, env: dict[str, str] | None = None) -> Finished:
        """Run a program to its end."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            program = await self.machine.spawn(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            status = await asyncio.wait_for(program.wait(), TIMEOUT)
            out.seek(0)
            err.seek(0)
            return Finished(status, out.read().decode(), err.read().decode())

    async def python(self, script: str, *argv: str) -> Finished:
        return await self.run(sys.executable, "-c", script, *argv)

    async def proxy(self, *rules: Sequence[object], lease_ms: int = LEASE_MAX_MS) -> Proxy:
        """Start the small proxy; rules are (verdict, address, port)."""
        program = await self.machine.spawn(
            [sys.executable, str(PROGRAMS / "proxy.py"), json.dumps(rules), str(lease_ms)],
            stdout=subprocess.PIPE,
            udp_sends=False,
        )
        proxy = Proxy(program)
        self.proxies.append(proxy)
        assert await proxy.line() == "ready"
        return proxy


@dataclass
class Proxy:
    program: Process

    async def line(self) -> str:
        assert self.program.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self.program.stdout.readline), TIMEOUT)
        return line.decode().strip()

    def close(self) -> None:
        self.program.send_signal(signal.SIGKILL)
        if self.program.stdout is not None:
            self.program.stdout.close()


@dataclass
class Origin:
    """An HTTP server on loopback that says who it is and remembers what it was asked."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b"\r\n")[0].decode())
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\norigin")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # a client that only connects
        finally:
            writer.close()


@asynccontextmanager
async def open_lab(
    placement: PlacementName | None = None, maps: Sequence[str] = (), names: Sequence[str] = ()
) -> AsyncIterator[Lab]:
    flows: list[KernelFlow] = []
    network = Network.parse(maps, names)
    async with Machine(network=network, on_flow=flows.append, placement=placement) as machine:
        lab = Lab(machine, flows)
        try:
            yield lab
        finally:
            for proxy in lab.proxies:
                proxy.close()


@asynccontextmanager
async def origin(family: int = 4) -> AsyncIterator[Origin]:
    told = Origin()
    server = await asyncio.start_server(told.serve, "127.0.0.1" if family == 4 else "::1", 0)
    told.port = server.sockets[0].getsockname()[1]
    try:
        yield told
    finally:
        server.close()
