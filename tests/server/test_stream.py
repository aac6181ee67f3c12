"""Every way to drive a socket keeps the same promises: readiness on asyncio's loop and on uvloop, and transports."""

from __future__ import annotations

import asyncio
import socket
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from pointsman.server.readiness import knows_readiness
from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, running_proxy

BYTES = bytes(range(256)) * 4 * 1024 * 4
Run = Callable[[Coroutine[object, object, None]], None]


@pytest.fixture(params=["readiness", "transports", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    factory = asyncio.new_event_loop
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop", reason="the extra `fast` is not installed").new_event_loop
    if request.param == "transports":
        for module in ("stream", "listener", "connection_task"):
            monkeypatch.setattr(f"pointsman.server.{module}.knows_readiness", lambda _: False)

    def run(test: Coroutine[object, object, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(test, PATIENCE))

    return run


def test_loops_are_told_apart_by_what_they_can_do() -> None:
    with_readiness, without = asyncio.new_event_loop(), cast("asyncio.AbstractEventLoop", BaseEventLoop())
    assert knows_readiness(with_readiness)
    assert not knows_readiness(without), "the Proactor loop inherits the method that raises, as this one does"
    with_readiness.close()
    without.close()


async def question(address: tuple[str, int], data: bytes) -> bytes:
    """Send, FIN, and read to the end."""
    reader, writer = await asyncio.open_connection(*address)

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    answer = await reader.read()
    await sending
    writer.close()
    return answer


async def answer_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = await reader.read()
    writer.write(asked)
    writer.close()


@pytest.mark.parametrize("policy", ['default = "relay"', 'default = "inspect"'])
def test_each_direction_ends_by_itself_and_nothing_is_lost(run: Run, tmp_path: Path, policy: str) -> None:
    async def scenario() -> None:
        server = await asyncio.start_server(answer_after_the_end, "127.0.0.1", 0)
        async with server, running_proxy(tmp_path, policy) as proxy:
            proxy.redirect_to(server.sockets[0].getsockname()[1])
            assert await question(proxy.address, BYTES) == BYTES

    run(scenario())


def test_many_connections_that_half_close_at_once(run: Run, tmp_path: Path) -> None:
    """uvloop's own transports abort the process here, about every third time that it is under load."""

    async def scenario() -> None:
        server = await asyncio.start_server(answer_after_the_end, "127.0.0.1", 0)
        async with server, running_proxy(tmp_path, 'default = "relay"') as proxy:
            proxy.redirect_to(server.sockets[0].getsockname()[1])
            for _ in range(5):
                asked = [question(proxy.address, b"%d" % number * 2000) for number in range(40)]
                assert await asyncio.gather(*asked) == [b"%d" % number * 2000 for number in range(40)]
            assert proxy.ready.counters.accepted == 200

    run(scenario())


def test_tls_ends_with_close_notify_and_everything_before_it(run: Run, tmp_path: Path) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(BYTES)
        writer.close()

    async def scenario() -> None:
        context = authority.server_context("www.example.com")
        server = await asyncio.start_server(flood, "127.0.0.1", 0, ssl=context)
        async with server, running_proxy(tmp_path) as proxy:
            proxy.redirect_to(server.sockets[0].getsockname()[1])
            client = authority.client_context()
            client.load_verify_locations(proxy.ready.root_pem)
            reader, writer = await asyncio.open_connection(
                *proxy.address, ssl=client, server_hostname="www.example.com"
            )
            writer.write(b"x")
            assert await reader.read() == BYTES
            writer.close()

    run(scenario())


def test_a_reset_travels_on_as_a_reset(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        arrived = asyncio.Event()

        async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            arrived.set()
            try:
                await reader.read()
            except ConnectionResetError:
                lost.set_result("reset")
            writer.close()

        server = await asyncio.start_server(wait, "127.0.0.1", 0)
        async with server, running_proxy(tmp_path, 'default = "relay"') as proxy:
            proxy.redirect_to(server.sockets[0].getsockname()[1])
            _, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"x")
            await writer.drain()
            await arrived.wait()
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()
            assert await lost == "reset"
            await proxy.stop()
            (record,) = proxy.records()
            assert record.error is not None and "ECONNRESET" in record.error

    run(scenario())


def test_a_reset_that_comes_along_with_data_is_noticed(run: Run, tmp_path: Path) -> None:
    """libuv tells of an error once and then watches the socket no more, also when there was data to read first."""

    async def scenario() -> None:
        dialled = asyncio.Event()

        async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            dialled.set()
            with suppress(ConnectionResetError):
                await reader.read()
            writer.close()

        server = await asyncio.start_server(wait, "127.0.0.1", 0)
        async with server, running_proxy(tmp_path, 'default = "relay"') as proxy:
            proxy.redirect_to(server.sockets[0].getsockname()[1])
            with socket.create_connection(proxy.address) as app:
                await dialled.wait()
                app.send(b"x")  # this and the reset before the loop turns
                app.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await proxy.stop()
            (record,) = proxy.records()
            assert record.error is not None and "ECONNRESET" in record.error

    run(scenario())


def test_nobody_listens_is_a_reset_and_a_record(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            async with running_proxy(tmp_path, 'default = "relay"') as proxy:
                proxy.redirect_to(closed.getsockname()[1])
                reader, writer = await asyncio.open_connection(*proxy.address)
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                writer.close()
                await proxy.stop()
                (record,) = proxy.records()
                assert record.error == "dial: connection refused (ECONNREFUSED)"

    run(scenario())
