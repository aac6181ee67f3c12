"""Workers under a parent, with the operating system played: supervision, policy, counters, records, drain."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from pointsman.control.proxy import Ready, run_proxy
from pointsman.control.settings import Settings
from pointsman.control.workers import MAX_REPLACEMENTS, Terms, Workers
from pointsman.engine.flow_record import FlowRecord
from pointsman.errors import PointsmanError
from pointsman.policy.load import parse_policy
from pointsman.server.limits import Limits
from pointsman.server.listener import Listeners
from pointsman.testing.proxy import PATIENCE
from pointsman.testing.system import FakeSystem, context_for
from pointsman.wire.abi import Ioctl
from pointsman.wire.redirect_context import encode_redirect_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RELAY, BLOCK = 'default = "relay"', 'default = "block"'


def system_towards(port: int) -> FakeSystem:
    """Every connection was dialled to this port; called in each worker, so by name from another process."""
    system = FakeSystem()
    system.redirects.everything = encode_redirect_context(context_for("127.0.0.1", port))
    return system


def no_system() -> FakeSystem:
    raise PointsmanError("no system", code="PM999", seen="a test", effect="none", do="nothing")


class Parent:
    def __init__(self, settings: Settings, make_system: Callable[[], FakeSystem]) -> None:
        self.settings = settings
        self.make_system = make_system
        self.system = FakeSystem()
        self.out = io.StringIO()
        self.workers: Workers
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()

    def hire(self, listeners: Listeners, joined: Callable[[], None]) -> Workers:
        terms = Terms(self.settings, self.make_system, asyncio.new_event_loop)
        self.workers = Workers(terms, listeners, joined, self.out)
        return self.workers

    async def run(self) -> None:
        await run_proxy(self.settings, self.system, self.ready.set_result, out=self.out, hire=self.hire)

    @property
    def address(self) -> tuple[str, int]:
        endpoint = self.ready.result().endpoints.v4
        assert endpoint is not None
        return str(endpoint[0]), endpoint[1]


@asynccontextmanager
async def running(
    directory: Path, port: int, policy: str = RELAY, *, workers: int = 2, policy_file: Path | None = None
) -> AsyncIterator[Parent]:
    settings = Settings(
        parse_policy(policy.encode(), "t.toml"),
        directory / "ca",
        policy_file=policy_file,
        flow_file=directory / "flows.jsonl",
        json_flows=True,
        workers=workers,
        limits=Limits(drain_timeout=1.0),
    )
    parent = Parent(settings, partial(system_towards, port))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(parent.run())
        await asyncio.wait_for(asyncio.shield(parent.ready), PATIENCE)
        yield parent
        parent.ready.result().stop()
        await asyncio.wait_for(task, PATIENCE)


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 3 * PATIENCE))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


async def echo_server() -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def ask(parent: Parent) -> bytes:
    """A connection of its own; empty if it was refused."""
    loop = asyncio.get_running_loop()
    with socket.socket() as app:
        app.setblocking(False)
        try:
            await loop.sock_connect(app, parent.address)
            await loop.sock_sendall(app, b"x")
            return await loop.sock_recv(app, 10)
        except ConnectionError:
            return b""


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)


def test_all_that_workers_did_is_written_counted_and_drained(tmp_path: Path) -> None:
    async def scenario() -> None:
        server, port = await echo_server()
        async with server, running(tmp_path, port) as parent:
            for _ in range(5):
                assert await asyncio.gather(*(ask(parent) for _ in range(20))) == [b"x"] * 20
            late_reader, late_writer = await asyncio.open_connection(*parent.address)
            late_writer.write(b"late")
            assert await late_reader.readexactly(4) == b"late"
            parent.ready.result().stop()
            late_writer.write_eof()
            assert await late_reader.read() == b"", "a connection that ends by itself is waited for"
            late_writer.close()
        assert parent.workers.counters.accepted == 101
        assert parent.workers.counters.open == 0
        for text in ((tmp_path / "flows.jsonl").read_text(), parent.out.getvalue()):
            records = [msgspec.json.decode(line, type=FlowRecord) for line in text.splitlines()]
            assert len({record.flow for record in records}) == 101
            assert {record.error for record in records} == {None}

    run(scenario())


def test_a_changed_policy_reaches_every_worker(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(RELAY)

    async def scenario() -> None:
        server, port = await echo_server()
        async with server, running(tmp_path, port, policy_file=file) as parent:
            assert await ask(parent) == b"x"
            file.write_text(BLOCK)
            refused = 0
            async with asyncio.timeout(PATIENCE):
                while refused < 40:  # in a row: each of the two has had its turn
                    refused = 0 if await ask(parent) else refused + 1

    run(scenario())


def test_a_worker_that_is_killed_is_replaced_and_decides_by_the_policy_in_force(tmp_path: Path) -> None:
    async def scenario() -> None:
        server, port = await echo_server()
        async with server, running(tmp_path, port, BLOCK, workers=1) as parent:
            registered = parent.system.driver.calls.count(Ioctl.REGISTER)
            parent.workers.use(parse_policy(RELAY.encode(), "new.toml"))
            await until_answered(parent)
            await until(lambda: parent.workers.counters.accepted > 0)
            os.kill(parent.workers.pids[0], signal.SIGKILL)
            waiting = asyncio.create_task(ask(parent))  # in the queue of the socket, where it outlives the worker
            await until(lambda: parent.system.driver.calls.count(Ioctl.REGISTER) > registered)
            assert await waiting in (b"x", b"")
            assert await ask(parent) == b"x"
            assert parent.workers.replaced == 1
            assert parent.workers.counters.accepted > 0, "what the dead one had counted stays counted"

    run(scenario())


async def until_answered(parent: Parent) -> None:
    async with asyncio.timeout(PATIENCE):
        while await ask(parent) != b"x":
            pass


def test_a_worker_that_dies_again_and_again_is_given_up_and_the_proxy_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = Settings(parse_policy(RELAY.encode(), "t.toml"), tmp_path / "ca", workers=1)
        parent = Parent(settings, partial(system_towards, 1))
        task = asyncio.create_task(parent.run())
        await parent.ready
        killed: set[int] = set()
        while not task.done():
            for pid in set(parent.workers.pids) - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)
        await task
        assert len(killed) == MAX_REPLACEMENTS + 1
        with pytest.raises(PointsmanError, match="every worker"):
            parent.workers.check()
        assert parent.system.driver.calls[-1] is Ioctl.WITHDRAW

    run(scenario())


def test_what_a_worker_cannot_start_for_is_told_in_its_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = Settings(parse_policy(RELAY.encode(), "t.toml"), tmp_path / "ca", workers=2)
        with pytest.raises(PointsmanError) as caught:
            await Parent(settings, no_system).run()
        assert "PM999" in caught.value.seen

    run(scenario())
