"""Upstreams on every way to drive a socket: readiness on asyncio's loop and on uvloop, and transports as on Windows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, running_proxy
from pointsman.testing.upstream_proxy import upstream_proxy

from .test_upstream import GET, HOST, PAGE, closed_port, get, origin, policy, port_of

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
            runner.run(asyncio.wait_for(test, 2 * PATIENCE))

    return run


@pytest.mark.parametrize("tls", [False, True])
def test_a_chain_with_a_fall_back_carries_an_intercepted_connection(run: Run, tmp_path: Path, tls: bool) -> None:
    async def scenario() -> None:
        server = await origin(tls=True)
        names = {HOST: port_of(server)}
        context = authority.server_context("127.0.0.1") if tls else None
        async with (
            server,
            upstream_proxy("http", tls=context) as near,
            upstream_proxy("socks5", tls=context, names=names) as far,
            running_proxy(tmp_path, policy(f"http://127.0.0.1:{closed_port()}", [near.url(), far.url()])) as proxy,
        ):
            proxy.redirect_to(443, "203.0.113.9")
            for _ in range(3):
                assert await get(proxy, tls=True) == PAGE
            await proxy.stop()
            assert [record.upstream for record in proxy.records()] == [f"u ({near.url()} > {far.url()})"] * 3

    run(scenario())


def test_a_dial_that_is_dropped_for_another_one_ends_cleanly(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        dialled, over = loop.create_future(), loop.create_future()

        async def straight(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            dialled.set_result(None)
            over.set_result(await reader.read())
            writer.close()

        server, wrong_way = await origin(), await asyncio.start_server(straight, "127.0.0.1", 0)
        async with server, wrong_way, upstream_proxy("http", names={HOST: port_of(server)}) as far:
            text = f'[upstreams]\nu = "{far.url()}"\n[[rule]]\nhost = "{HOST}"\naction = "upstream"\nupstream = "u"'
            async with running_proxy(tmp_path, text) as proxy:
                proxy.redirect_to(port_of(wrong_way))
                reader, writer = await asyncio.open_connection(*proxy.address)
                await dialled
                writer.write(GET)
                assert await reader.read() == PAGE
                assert await over == b"", "not a byte went the wrong way"
                writer.close()

    run(scenario())


def test_what_is_sent_and_ended_at_once_arrives_whole_through_tls_with_the_proxy(run: Run, tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = 0
        while received < len(data):
            received += len(await reader.read(1 << 16))
        writer.write(b"all of it")
        writer.close()

    async def scenario() -> None:
        server = await origin(swallow)
        async with (
            server,
            upstream_proxy("socks5", tls=authority.server_context("127.0.0.1")) as far,
            running_proxy(tmp_path, policy(far.url(), action="relay")) as proxy,
        ):
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(data)
            assert await reader.read() == b"all of it"
            writer.close()

    run(scenario())
