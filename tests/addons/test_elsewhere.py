"""Requests that an addon sends to another server: real servers on loopback, and what they may do wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pointsman.addons import elsewhere
from pointsman.addons.elsewhere import send_elsewhere, wants_another_way
from pointsman.engine.flow_facts import ServerFacts, ServerSpec
from pointsman.engine.messages import HttpFlow
from pointsman.testing import authority
from pointsman.testing.upstream_proxy import upstream_proxy

from .world import http_flow, run, world, written

Change = Callable[[HttpFlow], object]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(answer: bytes, asked: list[bytes] | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(head)
            if b"Content-Length: 4" in head:
                asked.append(await reader.readexactly(4))
        writer.write(answer)
        writer.close()

    return handle


@asynccontextmanager
async def server(handler: Handler, *, tls: bool = False) -> AsyncIterator[int]:
    context = authority.server_context("localhost") if tls else None
    listening = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def sent(flow: HttpFlow, handler: Handler, *, tls: bool = False) -> tuple[int, bytes | None]:
    async with server(handler, tls=tls) as port:
        flow.request.url = f"http{'s' if tls else ''}://localhost:{port}{flow.request.path}"
        await send_elsewhere(flow, authority.client_context)
    assert flow.response is not None
    return flow.response.status_code, flow.response.content


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_the_request_goes_there_and_the_answer_comes_back(tls: bool) -> None:
    async def scenario() -> None:
        asked: list[bytes] = []
        flow = http_flow(
            method="POST", body=b"data", headers={"X-A": "1", "Connection": "keep-alive", "TE": "trailers"}
        )
        answer = (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\nX-B: 2\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
        )
        assert await sent(flow, answering(answer, asked), tls=tls) == (201, b"abc")
        assert asked[0].startswith(b"POST /path?a=1 HTTP/1.1\r\nHost: localhost:") and asked[1] == b"data"
        assert b"X-A: 1\r\n" in asked[0] and b"TE" not in asked[0] and b"keep-alive" not in asked[0]
        assert flow.response is not None and flow.response.headers["x-b"] == "2"
        assert flow.response.headers["content-length"] == "3" and "transfer-encoding" not in flow.response.headers

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "ended before"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "ended before"),
        (b"no HTTP at all\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n", ""),
    ],
    ids=["nothing", "half", "no HTTP", "endless head"],
)
def test_no_whole_answer_is_a_502_that_says_why(answer: bytes, why: str) -> None:
    async def scenario() -> None:
        status, body = await sent(http_flow(), answering(answer))
        assert status == 502 and body is not None and b"Pointsman: an addon sent this to localhost:" in body
        assert why.encode() in body

    run(scenario())


def test_bodies_and_time_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "BODY_LIMIT", 1000)
    monkeypatch.setattr(elsewhere, "TIMEOUT", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def scenario() -> None:
        status, body = await sent(http_flow(), answering(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2000)))
        assert status == 502 and body is not None and b"more than 1000 bytes" in body
        assert (await sent(http_flow(), silent))[0] == 502

    run(scenario())


def test_an_answer_to_head_or_without_a_length_is_whole() -> None:
    async def scenario() -> None:
        assert await sent(http_flow(method="HEAD"), answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")) == (
            200,
            b"",
        )
        assert await sent(http_flow(), answering(b"HTTP/1.0 200 OK\r\n\r\nto the end")) == (200, b"to the end")

    run(scenario())


def test_a_certificate_that_is_not_for_that_host_is_refused() -> None:
    async def scenario() -> None:
        async with server(answering(b"HTTP/1.1 200 OK\r\n\r\n"), tls=True) as port:
            flow = http_flow()
            flow.request.url = f"https://127.0.0.1:{port}/"
            await send_elsewhere(flow, authority.client_context)
        assert flow.response is not None and flow.response.status_code == 502
        assert b"certificate" in (flow.response.content or b"")

    run(scenario())


@pytest.mark.parametrize("name", ["X-A\r\nX-B", "", "X\0"])
def test_what_would_be_two_requests_is_not_written(name: str) -> None:
    async def scenario() -> None:
        asked: list[bytes] = []
        flow = http_flow()
        flow.request.headers.add(name, "1")
        assert (await sent(flow, answering(b"HTTP/1.1 200 OK\r\n\r\n", asked)))[0] == 502
        assert asked == []
        flow = http_flow()
        flow.request.path = "/a HTTP/1.1\r\nX: y"
        assert (await sent(flow, answering(b"HTTP/1.1 200 OK\r\n\r\n", asked)))[0] == 502
        assert asked == []

    run(scenario())


@pytest.mark.parametrize("hook", ["request", "requestheaders"])
def test_a_hook_that_sets_the_host_sends_the_request_there(tmp_path: Path, hook: str) -> None:
    async def scenario() -> None:
        async with server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere")) as port:
            script = written(
                tmp_path / "a.py",
                f"def {hook}(flow):\n    if flow.request.pretty_host == 'example.com':\n"
                f"        flow.request.scheme = 'http'\n"
                f"        flow.request.host = 'localhost'\n        flow.request.port = {port}\n",
            )
            async with world(script) as here:
                for _ in range(20):  # in a thread at first, on the loop in the end
                    flow = http_flow()
                    await here.ask(hook, flow)
                    assert flow.response is not None and flow.response.content == b"there"

    run(scenario())


def test_listeners_that_have_answered_at_once_are_not_asked_again_while_the_request_is_elsewhere(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere")) as port:
            script = written(
                tmp_path / "a.py",
                "times = []\n"
                "def request(flow):\n"
                "    times.append(flow)\n"
                "    if flow.request.path == '/away':\n"
                f"        flow.request.scheme, flow.request.host, flow.request.port = 'http', 'localhost', {port}\n",
            )
            async with world(script) as here:
                await here.ask_inline("request", http_flow())
                times = here.files.module(0).times
                times.clear()
                flow = http_flow("https://example.com/away")
                assert here.host.answer("request", flow) is False
                assert times == [flow]
                await here.ask("request", flow)
                assert times == [flow]
                assert flow.response is not None and flow.response.content == b"there"

    run(scenario())


def test_a_request_that_was_streamed_to_its_origin_goes_nowhere_else(tmp_path: Path) -> None:
    script = written(tmp_path / "a.py", "def request(flow): flow.request.host = 'other.example'\n")

    async def scenario() -> None:
        async with world(script) as here:
            flow = http_flow()
            flow.request.raw_content = None
            await here.ask("request", flow)
            assert flow.request.server is not None and flow.response is None

    run(scenario())


def test_a_flow_is_asked_again_and_its_answer_reaches_the_hooks(tmp_path: Path) -> None:
    async def scenario() -> None:
        asked: list[bytes] = []
        async with server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", asked)) as port:
            script = written(
                tmp_path / "a.py",
                "from mitmproxy import ctx\nanswers = []\n"
                "def request(flow):\n"
                "    if flow.is_replay == 'request':\n        return\n"
                "    flow = flow.copy()\n"
                "    if 'view' in ctx.master.addons:\n"
                "        ctx.master.commands.call('view.flows.duplicate', [flow])\n"
                "    flow.request.path = '/changed'\n"
                "    ctx.master.commands.call('replay.client', [flow])\n"
                "def response(flow): answers.append((flow.is_replay, flow.response.content))\n",
            )
            async with world(script) as here:
                flow = http_flow(f"http://localhost:{port}/")
                await here.ask("request", flow)
                assert flow.response is None and flow.request.path == "/"
                while not here.files.module(0).answers:
                    await asyncio.sleep(0.01)
                assert here.files.module(0).answers == [("request", b"x")]
        assert asked[0].startswith(b"GET /changed HTTP/1.1\r\n")

    run(scenario())


def through(port: int, scheme: str = "http") -> Change:
    """As a script that chooses a proxy for a request."""

    def change(flow: HttpFlow) -> None:
        flow.server_conn = ServerFacts(flow.server_conn.address)
        flow.server_conn.via = ServerSpec(scheme, ("127.0.0.1", port))

    return change


@pytest.mark.parametrize("proxy_tls", [False, True], ids=["", "TLS with the proxy"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_request_goes_through_the_proxy_that_an_addon_names(kind: str, proxy_tls: bool) -> None:
    async def scenario() -> None:
        context = authority.server_context("127.0.0.1") if proxy_tls else None
        asked: list[bytes] = []
        handler = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere", asked)
        origin = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=authority.server_context("example.com"))
        names = {"example.com": origin.sockets[0].getsockname()[1]}
        async with origin, upstream_proxy(kind, tls=context, names=names) as proxy:
            flow = http_flow()
            through(proxy.port, proxy.url().partition(":")[0])(flow)
            assert wants_another_way(flow)
            await send_elsewhere(flow, authority.client_context)
            assert proxy.asked == [("example.com", 443)]
        assert flow.response is not None and flow.response.content == b"there"
        assert asked[0].startswith(b"GET /path?a=1 HTTP/1.1\r\nHost: example.com\r\n")

    run(scenario())


def test_a_request_in_clear_is_given_to_the_proxy_whole() -> None:
    async def scenario() -> None:
        asked: list[bytes] = []
        async with server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", asked)) as port:
            flow = http_flow("http://example.com/path")
            through(port)(flow)
            await send_elsewhere(flow, authority.client_context)
        assert flow.response is not None and flow.response.content == b"x"
        assert asked[0].startswith(b"GET http://example.com/path HTTP/1.1\r\nHost: example.com\r\n")

    run(scenario())


@pytest.mark.parametrize(
    ("says", "scheme", "why"),
    [
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "http", b"403"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "http", b"said more"),
        (b"HTTP/1.1 2", "http", b"closed the connection"),
        (b"", "quic", b"a proxy that speaks 'quic'"),
    ],
)
def test_a_proxy_that_does_not_do_it_is_a_502_that_says_so(says: bytes, scheme: str, why: bytes) -> None:
    async def scenario() -> None:
        async with upstream_proxy("http", says=says) as proxy:
            flow = http_flow()
            through(proxy.port, scheme)(flow)
            await send_elsewhere(flow, authority.client_context)
        assert flow.response is not None and flow.response.status_code == 502
        assert why in (flow.response.content or b"")

    run(scenario())


def test_a_hook_chooses_the_proxy_and_one_that_leaves_it_alone_does_not(tmp_path: Path) -> None:
    script = written(
        tmp_path / "a.py",
        "from mitmproxy.connection import Server\nfrom mitmproxy.net.server_spec import ServerSpec, parse\n"
        "where = None\n"
        "def request(flow):\n"
        "    if where is None or flow.server_conn.via == ServerSpec('http', ('127.0.0.1', where)):\n        return\n"
        "    flow.server_conn.via = parse(f'127.0.0.1:{where}', 'http')\n",
    )

    async def scenario() -> None:
        asked: list[bytes] = []
        async with (
            server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", asked)) as port,
            world(script) as here,
        ):
            flow = http_flow("http://example.com/path")
            await here.ask("request", flow)
            assert flow.response is None
            here.files.module(0).where = port
            flow = http_flow("http://example.com/path")
            await here.ask("request", flow)
            assert flow.response is not None and flow.response.content == b"x"
            flow = http_flow("http://example.com/path")
            flow.server_conn.via = flow.server_conn.dialled_via = ServerSpec("http", ("127.0.0.1", port))
            await here.ask("request", flow)
            assert flow.response is None, "it goes that way already"

    run(scenario())
