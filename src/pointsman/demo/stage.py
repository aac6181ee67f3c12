"""What the steps of the demo stand on: the origin, the lab, the programs, and everything that was said about them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointsman.demo import client, internet
from pointsman.demo.internet import Ports
from pointsman.engine.flow_record import FlowRecord
from pointsman.lab.flows import KernelFlow
from pointsman.lab.machine import Process
from pointsman.lab.network import Network
from pointsman.lab.session import LabProxy, Session, SessionSettings
from pointsman.policy.load import parse_policy
from pointsman.policy.rules import Policy

TIMEOUT = 15.0  # seconds for anything that should happen at once
CLIENT = str(Path(client.__file__))


@dataclass(slots=True)
class Heard:
    """Every word of driver and proxy, and a way to wait for one."""

    flows: list[KernelFlow] = field(default_factory=list)
    records: list[FlowRecord] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hear_flow(self, flow: KernelFlow) -> None:
        self.flows.append(flow)
        self._changed.set()

    def hear_record(self, record: FlowRecord) -> None:
        self.records.append(record)
        self._changed.set()

    def flow_of(self, pid: int) -> KernelFlow | None:
        """The last TCP connection of a program that the driver reported."""
        return next((flow for flow in reversed(self.flows) if flow.pid == pid and flow.protocol == 6), None)

    async def record_of(self, pid: int) -> FlowRecord | None:
        """What the proxy says about a program, once it has said it; None if it does not."""
        found: FlowRecord | None = None

        def here() -> bool:
            nonlocal found
            found = next((record for record in self.records if record.pid == pid), None)
            return found is not None

        await self.wait_until(here, TIMEOUT)
        return found

    async def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that has ended."""

    pid: int
    returncode: int
    stdout: str
    stderr: str

    @property
    def said(self) -> dict[str, Any]:
        """What the demo's own client printed."""
        line = self.stdout.splitlines()[-1] if self.stdout else "{}"
        value = json.loads(line)
        assert isinstance(value, dict)
        return value


class Stage:
    """Open with `on_stage`."""

    def __init__(self, session: Session, policy: Policy, heard: Heard, excluded: Path, tripped: list[str]) -> None:
        self.session = session
        self.policy = policy
        self.heard = heard
        self.excluded = excluded
        self.tripped = tripped
        """One entry for each connection that reached the tripwire."""
        self.curl = shutil.which("curl")

    async def start_proxy(self) -> LabProxy:
        return await self.session.start_proxy()

    async def run(self, argv: Sequence[str], extra: dict[str, str] | None = None) -> Ran:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = await self._spawn(argv, extra, stdout=out, stderr=err)
            async with asyncio.timeout(TIMEOUT * 2):
                returncode = await process.wait()
            out.seek(0)
            err.seek(0)
            return Ran(process.pid, returncode, out.read().decode(), err.read().decode("utf-8", "replace"))

    @asynccontextmanager
    async def looping(self, url: str, timeout: float) -> AsyncIterator[Loop]:
        """The client in a loop; each result arrives as it is printed."""
        process = await self._spawn(
            [sys.executable, "-P", CLIENT, "loop", url, str(timeout)], None, stdout=subprocess.PIPE, stderr=None
        )
        assert process.stdout is not None
        loop = Loop()
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        reading = asyncio.create_task(loop.read(reader))
        try:
            yield loop
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()
            await reading
            transport.close()

    async def _spawn(self, argv: Sequence[str], extra: dict[str, str] | None, **streams: Any) -> Process:
        return await self.session.machine.spawn(
            argv, env={**self.session.environment, **(extra or {})}, stdin=subprocess.DEVNULL, **streams
        )


class Loop:
    """Results of the looping client, newest last."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []
        self._changed = asyncio.Event()

    async def read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line.endswith(b"\n"):
                self.results.append(json.loads(line))
                self._changed.set()

    async def until(self, issuer: str, *, since: int = 0, timeout: float = TIMEOUT) -> dict[str, Any] | None:
        """Wait for a success with a certificate of `issuer` after the first `since` results; None if it never comes."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for result in self.results[since:]:
                        if result.get("issuer") == issuer:
                            return result
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return None

    def failures(self, since: int) -> int:
        return sum("error" in result for result in self.results[since:])


@asynccontextmanager
async def on_stage() -> AsyncIterator[Stage]:
    """Everything set up but the proxy, which is the first step's business."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-demo-")))
        ca, chain = internet.make_certificates(directory, list(internet.ADDRESSES))
        tripped: list[str] = []
        ports = await stack.enter_async_context(_origin(chain, tripped))
        excluded = _copy_interpreter(directory)
        policy_file = directory / "policy.toml"
        policy_file.write_text(internet.policy(excluded), encoding="utf-8")
        policy = parse_policy(policy_file.read_bytes(), policy_file.name)
        heard = Heard()
        session = Session(
            SessionSettings(
                network=Network.parse(maps=internet.maps(ports), names=internet.names()),
                policy=policy_file,
                upstream_ca=(ca,),
            ),
            on_record=heard.hear_record,
            on_flow=heard.hear_flow,
        )
        with _without_proxies():
            await stack.enter_async_context(session)
        yield Stage(session, policy, heard, excluded, tripped)


@asynccontextmanager
async def _origin(chain: Path, tripped: list[str]) -> AsyncIterator[Ports]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "pointsman.demo.origin", str(chain),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    stdout = process.stdout

    async def watch() -> None:
        while line := await stdout.readline():
            tripped.append(line.decode().strip())

    ports = Ports(**json.loads(await stdout.readline()))
    watching = asyncio.create_task(watch())
    try:
        yield ports
    finally:
        process.stdin.close()
        await process.wait()
        await watching


def _copy_interpreter(directory: Path) -> Path:
    """A second program file that is Python too: for WFP it is another application, since its path is another."""
    target = directory / "backup-agent"
    shutil.copyfile(Path(sys.executable).resolve(), target)
    target.chmod(0o755)
    return target


def interpreter_environment() -> dict[str, str]:
    """What a copied interpreter needs to find its library."""
    return {"PYTHONHOME": sys.base_prefix, "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR") or "")}


@contextmanager
def _without_proxies() -> Iterator[None]:
    """Proxy variables of the user would lead the demo's clients to a proxy that knows none of its names."""
    saved = {name: os.environ.pop(name) for name in list(os.environ) if name.lower().endswith("_proxy")}
    try:
        yield
    finally:
        os.environ.update(saved)
