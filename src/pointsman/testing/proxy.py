"""A whole proxy in the test's own event loop, on real sockets, with the operating system played by `FakeSystem`."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pointsman.control.proxy import Ready, run_proxy
from pointsman.control.settings import Settings
from pointsman.engine.flow_record import FlowRecord
from pointsman.policy.load import parse_policy
from pointsman.server.limits import Limits
from pointsman.testing import authority
from pointsman.testing.system import FakeSystem, context_for
from pointsman.wire.redirect_context import encode_redirect_context

PATIENCE = 20.0  # seconds until a test that hangs fails


@dataclass(slots=True)
class RunningProxy:
    ready: Ready
    system: FakeSystem
    flow_file: Path
    stopped: asyncio.Task[None]
    """Done when `run_proxy` has returned."""
    people: io.StringIO = field(default_factory=io.StringIO)

    @property
    def address(self) -> tuple[str, int]:
        assert self.ready.endpoints.v4 is not None, "the proxy always listens on IPv4"
        address, port = self.ready.endpoints.v4
        return str(address), port

    def redirect_to(self, port: int, address: str = "127.0.0.1") -> None:
        """From now on every connection to the proxy was dialled to this destination."""
        self.system.redirects.everything = encode_redirect_context(context_for(address, port))

    def records(self) -> list[FlowRecord]:
        return [msgspec.json.decode(line, type=FlowRecord) for line in self.flow_file.read_bytes().splitlines()]

    async def stop(self) -> None:
        self.ready.stop()
        await asyncio.wait_for(self.stopped, PATIENCE)


@asynccontextmanager
async def running_proxy(
    directory: Path,
    policy: str = 'default = "inspect"',
    *,
    limits: Limits | None = None,
    system: FakeSystem | None = None,
    addons: tuple[str, ...] = (),
    addon_settings: tuple[str, ...] = (),
    key_log: Path | None = None,
) -> AsyncIterator[RunningProxy]:
    """It trusts the origins of `testing.authority`, and is stopped at the end if it still runs."""
    origin_root = directory / "origin-root.pem"
    origin_root.write_text(authority.pem(authority.root()))
    system = system or FakeSystem()
    people = io.StringIO()
    settings = Settings(
        policy=parse_policy(policy.encode(), "test.toml"),
        ca_dir=directory / "ca",
        upstream_ca=(origin_root,),
        flow_file=directory / "flows.jsonl",
        print_flows=True,
        addons=addons,
        addon_settings=addon_settings,
        limits=limits or Limits(),
        key_log=key_log,
    )
    is_ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        stopped = group.create_task(run_proxy(settings, system, is_ready.set_result, out=people))
        waiting: set[asyncio.Future[Any]] = {is_ready, stopped}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            await stopped  # raises what it could not start for
        proxy = RunningProxy(is_ready.result(), system, directory / "flows.jsonl", stopped, people)
        try:
            yield proxy
        finally:
            if not stopped.done():
                await proxy.stop()
