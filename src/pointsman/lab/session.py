"""A lab at work: the machine, a proxy in it, and programs whose traffic goes through both.

`pointsman lab` and `pointsman demo` are two uses of this.  It starts the proxy as what it is elsewhere, a process of
its own (`pointsman run`), and reads readiness and flow records from its standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from pointsman.authority.root_store import load_or_create_root, root_path
from pointsman.engine.flow_record import FlowRecord
from pointsman.errors import Exit, PointsmanError
from pointsman.lab.flows import KernelFlow
from pointsman.lab.machine import Machine, PlacementName, Process
from pointsman.lab.network import Network
from pointsman.policy.rules import Policy
from pointsman.trust.environment import trust_environment
from pointsman.wire.abi import REASON_TEXT, RULE_DEFAULT, Reason, Verdict

START_TIMEOUT = 30.0  # seconds for the proxy to become ready
STOP_TIMEOUT = 10.0  # seconds for it to drain and end
LINE_LIMIT = 1 << 20  # bytes of one flow record
_PROTOCOLS = {6: "tcp", 17: "udp"}


@dataclass(frozen=True, slots=True)
class SessionSettings:
    network: Network = field(default_factory=Network)
    policy: Path | None = None
    upstream_ca: tuple[Path, ...] = ()
    placement: PlacementName | None = None
    run_options: tuple[str, ...] = ()
    """More for `pointsman run`, such as `--workers 2`."""
    addons: tuple[str, ...] = ()
    addon_settings: tuple[str, ...] = ()
    key_log: Path | None = None


class LabProxy:
    """A running `pointsman run` in the lab."""

    def __init__(self, process: Process, registration: int, records: asyncio.Task[None]) -> None:
        self.process = process
        self.registration = registration
        self._records = records

    async def ended(self) -> int:
        """Wait until it has ended and its last record has been read."""
        status = await self.process.wait()
        await self._records
        return status

    async def stop(self) -> None:
        """Withdraw, drain, end; killed if it takes longer than STOP_TIMEOUT."""
        self.process.send_signal(signal.SIGTERM)
        self.process.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.ended()
        except TimeoutError:
            self.process.send_signal(signal.SIGKILL)
            await self.ended()


class Session:
    """`async with Session(...) as lab`: `start_proxy`, then `spawn` programs with `environment`."""

    def __init__(
        self,
        settings: SessionSettings,
        *,
        on_record: Callable[[FlowRecord], None],
        on_flow: Callable[[KernelFlow], None] | None = None,
    ) -> None:
        self._settings = settings
        self._on_record = on_record
        self._stack = AsyncExitStack()
        self.machine = Machine(network=settings.network, on_flow=on_flow, placement=settings.placement)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.directory = Path(tempfile.mkdtemp(prefix="pointsman-"))  # mode 0700
            stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self.ca_dir = self.directory / "ca"
            load_or_create_root(self.ca_dir)
            upstream = [_read(path) for path in self._settings.upstream_ca]
            trust = trust_environment(self.directory, [root_path(self.ca_dir).read_bytes(), *upstream])
            self.environment = {**os.environ, **trust}
            await stack.enter_async_context(self.machine)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def start_proxy(
        self, *options: str, on_step: Callable[[str, Process], None] = lambda _name, _process: None
    ) -> LabProxy:
        """Raises PointsmanError if it ends before it is ready; it has said why on standard error.

        `options`: more of `pointsman run`; `on_step` hears the steps of a take-over as they happen.
        """
        arguments = ["--ca", str(self.ca_dir), *self._settings.run_options, *options]
        if self._settings.policy is not None:
            arguments += ["--policy", str(self._settings.policy)]
        for path in self._settings.upstream_ca:
            arguments += ["--upstream-ca", str(path)]
        if self._settings.key_log is not None:
            arguments += ["--key-log", str(self._settings.key_log)]
        for addon in self._settings.addons:
            arguments += ["--addon", addon]
        for setting in self._settings.addon_settings:
            arguments += ["--set", setting]
        process = await self.machine.spawn(
            # -P: the directory we happen to be in must not provide modules
            [sys.executable, "-P", "-m", "pointsman", "run", "--json", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            udp_sends=False,
            own_group=True,
        )
        reader = await self._lines(process)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while (first := await reader.readline()) and (step := json.loads(first).get("step")):
                    on_step(step, process)
        except (TimeoutError, ValueError):  # half a line of a killed proxy is no JSON
            first = b""
        if not first:
            process.send_signal(signal.SIGKILL)
            raise _not_ready(await process.wait())
        records = asyncio.create_task(
            self._read_records(reader, lambda step: on_step(step, process)), name="flow records of the lab's proxy"
        )
        return LabProxy(process, int(json.loads(first)["registration"]), records)

    async def _lines(self, process: Process) -> asyncio.StreamReader:
        assert process.stdout is not None
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        self._stack.callback(transport.close)
        return reader

    async def _read_records(self, reader: asyncio.StreamReader, on_step: Callable[[str], None]) -> None:
        decoder = msgspec.json.Decoder(FlowRecord)
        while line := await reader.readline():
            if line.startswith(b'{"step"') and line.endswith(b"\n"):
                on_step(json.loads(line)["step"])
                continue
            # The last line of a killed proxy may be half a line.
            with contextlib.suppress(msgspec.DecodeError):
                self._on_record(decoder.decode(line))


def record_of_kernel_flow(flow: KernelFlow, policy: Policy) -> FlowRecord | None:
    """What the driver decided alone, as a flow record; None for what the proxy will report, and for loopback."""
    if flow.verdict is Verdict.REDIRECT or flow.reason is Reason.LOOPBACK_DESTINATION:
        return None
    by_rule = flow.reason in (Reason.BLOCKED_BY_RULE, Reason.PASSED_BY_RULE)
    if flow.verdict is Verdict.PASS and _PROTOCOLS.get(flow.protocol) != "tcp":
        return None  # name look-ups and the like, of no interest to one who asks what a program says
    address, port = flow.original_destination
    return FlowRecord(
        flow=0,
        time=flow.time,
        app=flow.app,
        pid=flow.pid,
        address=str(address),
        port=port,
        host=None,
        decision="block" if flow.verdict is Verdict.BLOCK else "direct",
        rule=rule_name(policy, flow.rule_id) if by_rule else "driver",
        protocol=_PROTOCOLS.get(flow.protocol, str(flow.protocol)),
        note=None if by_rule else REASON_TEXT[flow.reason],
    )


def rule_name(policy: Policy, rule_id: int) -> str:
    """The name of the rule that a filter stands for."""
    if rule_id == RULE_DEFAULT or rule_id >= len(policy.rules):
        return "default"
    return policy.rules[rule_id].label


def exit_status(returncode: int) -> int:
    """As a shell has it: a program ended by signal N has status 128 + N."""
    return 128 - returncode if returncode < 0 else returncode


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PointsmanError(
            f"cannot read the CA file {path}",
            code="PM508",
            seen=(error.strerror or str(error)).lower(),
            effect="nothing was started",
            do="name a readable PEM file after --upstream-ca",
            status=Exit.BAD_FILE,
        ) from error


def _not_ready(returncode: int) -> PointsmanError:
    known = returncode in {int(status) for status in Exit} and returncode != 0
    return PointsmanError(
        "the lab's proxy did not start",
        code="PM509",
        seen=f"it ended with status {exit_status(returncode)}; what it said stands above",
        effect="the command was not started",
        do="mend what the proxy complains about and try again",
        status=Exit(returncode) if known else Exit.FAILED,
    )
