"""Intercepted on real sockets: clients and servers that we did not write, with and without a listener."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import requests
from aiohttp import web
from tests.server.intercepting import Intercepting, Marking, intercepting

from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE

HOST = "localhost"
CURL = shutil.which("curl")
NODE = shutil.which("node")
BIG = bytes(range(256)) * 4096 * 3
LISTENERS = [None, Marking, lambda: Marking(later=True), lambda: Marking(hooks=("requestheaders", "responseheaders"))]
Test = Callable[[Intercepting, str], Awaitable[None]]
needs_curl = pytest.mark.skipif(CURL is None, reason="no curl here")
with_listeners = pytest.mark.parametrize("listener", LISTENERS, ids=["nobody", "at once", "later", "heads only"])


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    seen = request.headers.get("X-Seen", "no")
    return web.Response(body=body, headers={"X-Method": request.method, "X-Origin-Saw": seen})


async def events(request: web.Request) -> web.StreamResponse:
    """The second event waits for the client to have said that it has the first."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: 1\n\n")
    await request.app[GOT_FIRST].wait()
    await response.write(b"data: 2\n\n")
    return response


async def got_first(request: web.Request) -> web.Response:
    request.app[GOT_FIRST].set()
    return web.Response()


async def chat(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=True)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"you said {message.data}")
    return socket


GOT_FIRST = web.AppKey("got_first", asyncio.Event)


def run(test: Test, tmp_path: Path, listener: Callable[[], Marking] | None = None) -> None:
    async def scenario() -> None:
        app = web.Application(client_max_size=1 << 26)
        app[GOT_FIRST] = asyncio.Event()
        app.router.add_route("*", "/echo", echo)
        app.router.add_get("/events", events)
        app.router.add_get("/got-first", got_first)
        app.router.add_get("/chat", chat)
        runner = web.AppRunner(app)
        await runner.setup()
        context = authority.server_context(HOST, alpn="http/1.1")
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        async with intercepting(tmp_path, listener() if listener else None) as proxy:
            proxy.redirect_to(port)
            await test(proxy, f"https://{HOST}:{proxy.address[1]}")
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))


async def curl(proxy: Intercepting, *arguments: str, given: bytes = b"") -> bytes:
    process = await asyncio.create_subprocess_exec(
        str(CURL), "-sS", "--cacert", str(proxy.root_pem), *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate(given)
    assert process.returncode == 0
    return out


@needs_curl
@with_listeners
def test_curl_uploads_and_downloads(tmp_path: Path, listener: Callable[[], Marking] | None) -> None:
    async def test(proxy: Intercepting, base: str) -> None:
        url = f"{base}/echo"
        assert await curl(proxy, "--data-binary", "@-", url, given=BIG) == BIG, "with a length and Expect"
        assert await curl(proxy, "-T", "-", url, given=BIG) == BIG, "in chunks"
        head = (await curl(proxy, "-I", url)).decode().lower()
        assert head.startswith("http/1.1 200 ")
        assert ("x-seen: down" in head) == (listener is not None)
        assert ("x-origin-saw: up" in head) == (listener is not None)
        assert [(one.method, one.status, one.error) for one in proxy.records] == [
            ("POST", 200, None), ("PUT", 200, None), ("HEAD", 200, None),
        ]  # fmt: skip

    run(test, tmp_path, listener)


@with_listeners
def test_python_clients_keep_their_connection(tmp_path: Path, listener: Callable[[], Marking] | None) -> None:
    async def test(proxy: Intercepting, base: str) -> None:
        def work() -> None:
            context = ssl.create_default_context(cafile=str(proxy.root_pem))
            connection = http.client.HTTPSConnection(HOST, proxy.address[1], context=context, timeout=PATIENCE)
            for turn in range(3):
                connection.request("POST", "/echo", body=(b"%d" % one for one in range(turn)), encode_chunked=True,
                                   headers={"Transfer-Encoding": "chunked"})  # fmt: skip
                assert connection.getresponse().read() == b"".join(b"%d" % one for one in range(turn))
            connection.close()
            with requests.Session() as session:
                session.trust_env = False
                session.verify = str(proxy.root_pem)
                for _ in range(3):
                    answer = session.put(f"{base}/echo", data=b"hello", timeout=PATIENCE)
                    assert (answer.content, answer.headers["X-Method"]) == (b"hello", "PUT")
                    assert answer.headers["X-Origin-Saw"] == ("up" if listener else "no")

        await asyncio.to_thread(work)
        assert len({one.flow for one in proxy.records}) == 2 and len(proxy.records) == 6

    run(test, tmp_path, listener)


@with_listeners
def test_events_arrive_one_by_one(tmp_path: Path, listener: Callable[[], Marking] | None) -> None:
    async def test(proxy: Intercepting, base: str) -> None:
        context = ssl.create_default_context(cafile=str(proxy.root_pem))
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session, session.get(f"{base}/events") as answer:
            assert await answer.content.readline() == b"data: 1\n"
            async with session.get(f"{base}/got-first"):
                pass
            assert (await answer.content.read()).endswith(b"data: 2\n\n")

    run(test, tmp_path, listener)


@pytest.mark.parametrize("compress", [0, 15])
@pytest.mark.parametrize("hooks", [None, ("websocket_message",)])
def test_websocket_messages_pass_or_are_changed(tmp_path: Path, compress: int, hooks: tuple[str, ...] | None) -> None:
    async def test(proxy: Intercepting, base: str) -> None:
        context = ssl.create_default_context(cafile=str(proxy.root_pem))
        mark = "!" if hooks else ""
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.ws_connect(f"{base}/chat", compress=compress) as socket,
        ):
            for text in ("hello", "x" * 100_000, ""):
                await socket.send_str(text)
                assert await socket.receive_str() == f"you said {text}{mark}{mark}"
        while len(proxy.records) < 2:
            await asyncio.sleep(0)
        assert proxy.records[1].note is not None and "3 messages up, 3 down" in proxy.records[1].note

    run(test, tmp_path, (lambda: Marking(hooks=hooks)) if hooks else None)


@pytest.mark.skipif(NODE is None, reason="no Node here")
@with_listeners
def test_node_fetches(tmp_path: Path, listener: Callable[[], Marking] | None) -> None:
    script = """
      const url = process.argv[1];
      for (let turn = 0; turn < 3; turn++) {
        const answer = await fetch(url, {method: "POST", body: "x".repeat(turn * 70000)});
        console.log(answer.status, (await answer.text()).length, answer.headers.get("x-origin-saw"));
      }
      const stream = new ReadableStream({start(c) { c.enqueue(new Uint8Array(5)); c.close(); }});
      console.log((await (await fetch(url, {method: "POST", body: stream, duplex: "half"})).text()).length);
    """

    async def test(proxy: Intercepting, base: str) -> None:
        process = await asyncio.create_subprocess_exec(
            str(NODE), "--input-type=module", "-e", script, f"{base}/echo",
            stdout=asyncio.subprocess.PIPE, env={"NODE_EXTRA_CA_CERTS": str(proxy.root_pem)},
        )  # fmt: skip
        out, _ = await process.communicate()
        seen = "up" if listener else "no"
        assert out.decode().splitlines() == [*(f"200 {turn * 70000} {seen}" for turn in range(3)), "5"]

    run(test, tmp_path, listener)


def test_a_slow_reader_holds_up_the_origin_and_nobody_runs_out_of_memory(tmp_path: Path) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(64):
            await response.write(bytes(1 << 20))
            sent.append(1)
        return response

    sent: list[int] = []

    async def scenario() -> None:
        app = web.Application()
        app.router.add_get("/flood", flood)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with intercepting(tmp_path) as proxy:
            proxy.redirect_to(runner.addresses[0][1])
            reader, writer = await asyncio.open_connection(*proxy.address, limit=1 << 16)
            writer.write(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
            before = -1
            while before != len(sent):  # until nothing moves any more
                before = len(sent)
                await asyncio.sleep(0.2)
            assert len(sent) < 32, "the kernel's buffers and ours, not the whole"
            total = 0
            while total < 64 << 20:
                total += len(await reader.read(1 << 20))
            writer.close()
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))
