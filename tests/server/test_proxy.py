"""The whole proxy on real sockets: real origins, real clients, and only the operating system played."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import socket
import ssl
import struct
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from pointsman.control.proxy import YOUNG_OBJECTS, _rare_collections
from pointsman.engine.commands import Command, Pause, Report, Send
from pointsman.engine.events import Side
from pointsman.engine.exchange import MORE
from pointsman.server.connection_task import CARRY_OUT, ConnectionTask
from pointsman.server.limits import Limits
from pointsman.server.readiness import readiness
from pointsman.server.server import Server
from pointsman.server.stream import HIGH_WATER
from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, RunningProxy, running_proxy
from pointsman.testing.system import RECORDS, FakeSystem, context_for

RELAY = 'default = "relay"'
TEN_MEGABYTES = bytes(range(256)) * 4 * 1024 * 10
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 2 * PATIENCE))


async def origin(handler: Handler, context: ssl.SSLContext | None = None) -> asyncio.Server:
    return await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def app_context(proxy: RunningProxy) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(proxy.ready.root_pem))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
    writer.close()


async def expect_reset(address: tuple[str, int], send: bytes = b"") -> None:
    """An RST, not an end: reading raises, or connecting already if it came as fast as that."""
    try:
        reader, writer = await asyncio.open_connection(*address)
    except ConnectionResetError:
        return
    with pytest.raises(ConnectionError):
        if send:
            writer.write(send)
            await writer.drain()
        if await reader.read() == b"":
            raise AssertionError("a clean end")
    writer.transport.abort()


def test_curl_or_python_gets_its_page_and_the_flow_is_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin(http, authority.server_context("www.example.com"))
        async with server, running_proxy(tmp_path) as proxy:
            proxy.redirect_to(port_of(server))
            assert await fetch(proxy, "www.example.com") == b"hello\n"
            await proxy.stop()
            (record,) = proxy.records()
            assert (record.protocol, record.method, record.path, record.status) == ("https", "GET", "/page", 200)
            assert (record.app, record.pid, record.address) == ("/usr/bin/app", 4711, "127.0.0.1")
            assert "app[4711] https GET www.example.com:" in proxy.people.getvalue()
            assert proxy.system.redirects.applied == [RECORDS]

    run(scenario())


async def fetch(proxy: RunningProxy, host: str) -> bytes:
    """By curl where there is one: a client we did not write."""
    address, port = proxy.address
    curl = shutil.which("curl")
    if curl is not None:
        process = await asyncio.create_subprocess_exec(
            curl, "-sS", "--cacert", str(proxy.ready.root_pem), "--resolve", f"{host}:{port}:{address}",
            f"https://{host}:{port}/page", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        body, _ = await process.communicate()
        return body
    reader, writer = await asyncio.open_connection(address, port, ssl=app_context(proxy), server_hostname=host)
    writer.write(f"GET /page HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    response = await reader.read()
    writer.close()
    return response.partition(b"\r\n\r\n")[2]


def test_a_server_that_speaks_first_is_heard_at_once(tmp_path: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        await echo(reader, writer)

    async def scenario() -> None:
        server = await origin(greet)
        async with server, running_proxy(tmp_path) as proxy:
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)
            assert await reader.readline() == b"220 ready\r\n"
            writer.write(b"QUIT")
            writer.write_eof()
            assert await reader.read() == b"QUIT"
            writer.close()

    run(scenario())


def test_an_app_that_has_ended_still_gets_its_answer(tmp_path: Path) -> None:
    async def answer_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        writer.write(b"answer to " + question)
        writer.close()

    async def scenario() -> None:
        server = await origin(answer_after_the_end)
        async with server, running_proxy(tmp_path, RELAY) as proxy:
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"question")
            writer.write_eof()
            assert await reader.read() == b"answer to question"
            writer.close()

    run(scenario())


def test_an_origin_that_has_ended_still_hears_the_app(tmp_path: Path) -> None:
    async def scenario() -> None:
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def end_then_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write_eof()
            heard.set_result(await reader.read())
            writer.close()

        server = await origin(end_then_listen)
        async with server, running_proxy(tmp_path, RELAY) as proxy:
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)
            assert await reader.read() == b""
            writer.write(b"late words")
            writer.write_eof()
            assert await heard == b"late words"
            writer.close()

    run(scenario())


@pytest.mark.parametrize("through", ["relay", "inspect"])
def test_ten_megabytes_each_way_arrive_as_they_were(tmp_path: Path, through: str) -> None:
    async def scenario() -> None:
        context = authority.server_context("www.example.com") if through == "inspect" else None
        server = await origin(echo, context)
        async with server, running_proxy(tmp_path, f'default = "{through}"') as proxy:
            proxy.redirect_to(port_of(server))
            name = "www.example.com" if context else None
            reader, writer = await asyncio.open_connection(
                *proxy.address, ssl=app_context(proxy) if context else None, server_hostname=name
            )

            async def send() -> None:
                writer.write(TEN_MEGABYTES)
                await writer.drain()

            async with asyncio.TaskGroup() as group:
                group.create_task(send())
                assert await reader.readexactly(len(TEN_MEGABYTES)) == TEN_MEGABYTES
            writer.close()
            await proxy.stop()
            (record,) = proxy.records()
            assert (record.bytes_up, record.bytes_down) == (len(TEN_MEGABYTES), len(TEN_MEGABYTES))

    run(scenario())


def test_a_slow_reader_holds_up_the_origin_and_not_our_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = 64 * 1024 * 1024
    largest = 0
    paused = asyncio.Event()
    do = ConnectionTask._do

    def watched(self: ConnectionTask, commands: list[Command]) -> None:
        nonlocal largest
        do(self, commands)
        for stream in self._streams.values():
            largest = max(largest, stream.queued)
        if Pause(Side.UPSTREAM) in commands:
            paused.set()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(total // 65536):
            writer.write(bytes(65536))
            await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await origin(flood)
        async with server, running_proxy(tmp_path, RELAY) as proxy:
            proxy.redirect_to(port_of(server))
            app = socket.socket()
            app.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(app, proxy.address)
            await paused.wait()
            got = 0
            while data := await loop.sock_recv(app, 1 << 18):
                got += len(data)
            app.close()
            assert got == total

    monkeypatch.setattr(ConnectionTask, "_do", watched)
    run(scenario())
    assert HIGH_WATER < largest <= HIGH_WATER + 256 * 1024


def test_a_connection_that_nobody_redirected_is_refused_and_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_proxy(tmp_path) as proxy:
            await expect_reset(proxy.address)
            proxy.system.redirects.everything = b"another product's context"
            await expect_reset(proxy.address)

            counters = proxy.ready.counters
            assert (counters.refused_unredirected, counters.refused_foreign_context, counters.open) == (1, 1, 0)

    run(scenario())


def test_only_the_port_that_was_announced_is_a_redirected_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin(echo)
        async with server, running_proxy(tmp_path, RELAY) as proxy:
            app = socket.socket()
            app.bind(("127.0.0.1", 0))
            app.setblocking(False)
            proxy.system.redirects.expect(app.getsockname()[1], context_for("127.0.0.1", port_of(server)))
            loop = asyncio.get_running_loop()
            await loop.sock_connect(app, proxy.address)
            await loop.sock_sendall(app, b"x")
            assert await loop.sock_recv(app, 10) == b"x"
            app.close()
            await expect_reset(proxy.address)

    run(scenario())


def test_a_destination_that_refuses_becomes_a_reset(tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # bound, not listening
            async with running_proxy(tmp_path) as proxy:
                proxy.redirect_to(nobody.getsockname()[1])
                await expect_reset(proxy.address)
                await proxy.stop()
                (record,) = proxy.records()
                assert record.error == "dial: connection refused (ECONNREFUSED)"

    run(scenario())


def test_a_blocked_host_becomes_a_page_in_http_and_a_reset_in_tls(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin(echo)
        policy = '[[rule]]\nname = "not this"\nhost = "*.example"\naction = "block"'
        async with server, running_proxy(tmp_path, policy) as proxy:
            proxy.redirect_to(port_of(server))
            await expect_reset(proxy.address, authority.client_hello("a.example"))
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 403 ")
            writer.close()
            await proxy.stop()
            records = proxy.records()
            assert [(one.decision, one.rule) for one in records] == [("block", "not this")] * 2

    run(scenario())


def test_one_connection_too_many_is_reset_and_the_next_is_welcome_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin(echo)
        async with server, running_proxy(tmp_path, RELAY, limits=Limits(max_connections=1)) as proxy:
            proxy.redirect_to(port_of(server))
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*proxy.address)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                await expect_reset(proxy.address)
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()
                while proxy.ready.counters.open:
                    await asyncio.sleep(0)
            assert proxy.ready.counters.refused_over_limit == 2

    run(scenario())


def test_an_app_that_has_its_share_is_refused_and_other_apps_are_not(tmp_path: Path) -> None:
    async def connect(stack: ExitStack, proxy: RunningProxy, port: int, app: str) -> socket.socket:
        one = stack.enter_context(socket.socket())
        one.setblocking(False)
        one.bind(("127.0.0.1", 0))
        proxy.system.redirects.expect(one.getsockname()[1], context_for("127.0.0.1", port, app=app))
        with suppress(ConnectionResetError):  # refused as fast as that; then sending fails
            await asyncio.get_running_loop().sock_connect(one, proxy.address)
        return one

    async def answers(one: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(one, b"x")
            return await loop.sock_recv(one, 1)
        except ConnectionError:
            return b""

    async def scenario() -> None:
        server = await origin(echo)
        limits = Limits(max_connections_per_app=2)
        with ExitStack() as stack:
            async with server, running_proxy(tmp_path, RELAY, limits=limits) as proxy:
                port = port_of(server)
                greedy = [await connect(stack, proxy, port, "/usr/bin/greedy") for _ in range(3)]
                assert [await answers(one) for one in greedy] == [b"x", b"x", b""]
                modest = await connect(stack, proxy, port, "/usr/bin/modest")
                assert await answers(modest) == b"x"
                assert proxy.ready.counters.refused_over_app_limit == 1
                for one in greedy:
                    one.close()
                while proxy.ready.counters.open > 1:
                    await asyncio.sleep(0)
                again = await connect(stack, proxy, port, "/usr/bin/greedy")
                assert await answers(again) == b"x"
                modest.close()
                again.close()

    run(scenario())


def test_a_client_that_resets_before_it_is_accepted_harms_nobody_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin(echo)
        async with server, running_proxy(tmp_path, RELAY) as proxy:
            proxy.redirect_to(port_of(server))
            for _ in range(20):
                hasty = socket.create_connection(proxy.address)
                hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                hasty.close()
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            writer.close()

    run(scenario())


def test_a_reset_of_one_side_reaches_the_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"x")
            try:
                await reader.read()
            except ConnectionResetError as error:
                seen.set_result(error)
            writer.transport.abort()

        server = await origin(listen)
        async with server, running_proxy(tmp_path, RELAY) as proxy:
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)
            await reader.readexactly(1)
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await seen

    run(scenario())


def test_a_bug_in_one_connection_does_not_end_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Buggy(FakeSystem):
        def image_path(self, app_id: bytes) -> str:
            raise ZeroDivisionError

    async def scenario() -> None:
        system = Buggy()
        async with running_proxy(tmp_path, RELAY, system=system) as proxy:
            proxy.redirect_to(1)
            for count in (1, 2):
                await expect_reset(proxy.address)
                assert proxy.ready.counters.crashed == count

    run(scenario())
    assert "a bug in the proxy" in caplog.text


def test_a_bug_in_the_engine_closes_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        server = await origin(echo)
        async with server, running_proxy(tmp_path, RELAY) as proxy:
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"x")
            await reader.readexactly(1)
            monkeypatch.setattr("pointsman.engine.relay.Relay.carry", None)
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.transport.abort()
            while proxy.ready.counters.open:
                await asyncio.sleep(0)
            assert proxy.ready.counters.crashed == 1

    run(scenario())


def test_sigterm_withdraws_then_lets_open_connections_finish(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin(echo)
        async with server, running_proxy(tmp_path, RELAY) as proxy:
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"before")
            assert await reader.readexactly(6) == b"before"

            os.kill(os.getpid(), signal.SIGTERM)
            while proxy.system.driver.live:
                await asyncio.sleep(0)
            assert not proxy.stopped.done()
            writer.write(b"after")
            assert await reader.readexactly(5) == b"after"
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await proxy.stopped

            assert proxy.records()[0].error is None
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*proxy.address)

    run(scenario())


def test_a_connection_that_does_not_finish_is_reset_at_the_end_of_the_drain(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin(echo)
        async with server, running_proxy(tmp_path, RELAY, limits=Limits(drain_timeout=0.05)) as proxy:
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"x")
            await reader.readexactly(1)
            await proxy.stop()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.transport.abort()
            assert proxy.records()[0].error == "the proxy stopped"

    run(scenario())


def test_every_command_of_the_engine_is_carried_out() -> None:
    assert {Send, Report, *CARRY_OUT} == set(get_args(Command))


class _Waiting:
    """A connection whose layer carries, and then waits for something until a deadline without saying a word."""

    closing = False
    handshake_deadline: float | None = None
    news = 0
    deadline = float("inf")

    def __init__(self, rung: asyncio.Event) -> None:
        self.carrier = self
        self._rung = rung

    def carry(self, side: Side, data: bytes, now: float) -> bytes:
        del side, data
        self.handshake_deadline = self.deadline = now
        self.news = MORE
        return b""

    def take_news(self, now: float) -> tuple[tuple[()], tuple[()]]:
        del now
        return (), ()

    def tick(self, now: float) -> tuple[()]:
        del now
        self.handshake_deadline, self.deadline = None, float("inf")
        self._rung.set()
        return ()


def test_a_deadline_of_a_layer_that_carries_is_kept_though_it_came_without_a_word() -> None:
    async def scenario() -> None:
        rung, nothing = asyncio.Event(), cast(Any, None)
        waiting = cast(Any, _Waiting(rung))
        task = ConnectionTask(waiting, nothing, b"", nothing, asyncio.get_running_loop())
        task.received(Side.DOWNSTREAM, b"x")
        await asyncio.wait_for(rung.wait(), PATIENCE)

    asyncio.run(scenario())


def test_a_socket_that_is_no_stream_yet_is_closed_when_the_proxy_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a loop without readiness, as Windows', it becomes one in a task, which may be cancelled before it begins."""
    monkeypatch.setattr("pointsman.server.connection_task.knows_readiness", lambda _: False)
    taken: list[socket.socket] = []
    start = ConnectionTask.start

    def stopped_at_once(
        self: ConnectionTask, accepted: socket.socket, over: Callable[[ConnectionTask, Exception | None], None]
    ) -> None:
        start(self, accepted, over)
        self.stop()
        taken.append(accepted)

    monkeypatch.setattr(ConnectionTask, "start", stopped_at_once)

    async def scenario() -> None:
        async with running_proxy(tmp_path) as proxy:
            proxy.redirect_to(1)
            reader, writer = await asyncio.open_connection(*proxy.address)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            await proxy.stop()
            assert [one.fileno() for one in taken] == [-1]
            assert proxy.ready.counters.open == 0

    run(scenario())


def test_nothing_is_left_of_a_hundred_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apps: list[int] = []
    ended = Server._ended

    def count_apps(server: Server, connection: ConnectionTask, bug: Exception | None) -> None:
        ended(server, connection, bug)
        apps.append(len(server._of_app))

    monkeypatch.setattr(Server, "_ended", count_apps)

    async def scenario() -> None:
        server = await origin(http, authority.server_context("www.example.com"))
        async with server:
            gc.collect()  # the epolls of loops that are gone
            readiness()  # this loop's, which stays as long as it
            before, tasks = len(os.listdir("/dev/fd")), len(asyncio.all_tasks())
            async with running_proxy(tmp_path) as proxy:
                proxy.redirect_to(port_of(server))

                async def one() -> None:
                    reader, writer = await asyncio.open_connection(
                        *proxy.address, ssl=app_context(proxy), server_hostname="www.example.com"
                    )
                    writer.write(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
                    assert (await reader.read()).endswith(b"hello\n")
                    writer.close()
                    await writer.wait_closed()

                for _ in range(5):
                    async with asyncio.TaskGroup() as group:
                        for _ in range(20):
                            group.create_task(one())
                await proxy.stop()
                assert len(proxy.records()) == 100
                assert proxy.ready.counters.open == 0
                assert len(apps) == 100 and apps[-1] == 0
            while len(asyncio.all_tasks()) > tasks:  # the origin's own
                await asyncio.sleep(0)
            assert len(os.listdir("/dev/fd")) == before

    run(scenario())


def test_ipv6_has_an_endpoint_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await origin(echo)
        async with server, running_proxy(tmp_path, RELAY) as proxy:
            proxy.redirect_to(port_of(server))
            if proxy.ready.endpoints.v6 is None:
                with pytest.raises(OSError), socket.socket(socket.AF_INET6) as probe:
                    probe.bind(("::1", 0))
                return
            address, port = proxy.ready.endpoints.v6
            reader, writer = await asyncio.open_connection(str(address), port)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            writer.close()

    run(scenario())


def test_nothing_of_a_connection_waits_for_the_cycle_collector(tmp_path: Path) -> None:
    """Two TLS sessions take 50 KiB; as garbage they would be most of the memory of a busy proxy."""

    async def scenario() -> None:
        server = await origin(echo, authority.server_context("www.example.com"))
        async with server, running_proxy(tmp_path) as proxy:
            proxy.redirect_to(port_of(server))
            reader, writer = await asyncio.open_connection(
                *proxy.address, ssl=app_context(proxy), server_hostname="www.example.com"
            )
            writer.write(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            (task,) = (each for each in gc.get_objects() if isinstance(each, ConnectionTask))
            gone = asyncio.Event()
            weakref.finalize(task, gone.set)
            del task
            gc.disable()
            try:
                writer.close()
                await gone.wait()
            finally:
                gc.enable()

    run(scenario())


def test_garbage_that_was_old_when_it_became_garbage_goes_while_the_proxy_runs() -> None:
    class Node:
        def __init__(self) -> None:
            self.me = self

    with _rare_collections():
        node = Node()
        gone = weakref.ref(node)
        for generation in (0, 1):
            gc.collect(generation)
        del node
        for _ in range(12 * 12 * YOUNG_OBJECTS):  # each level is looked at every eleventh time at the latest
            Node()
            if gone() is None:
                break
        assert gone() is None
