"""Addons in a whole proxy on real sockets: a real origin, a real client, TLS on both sides."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from pointsman.testing import authority
from pointsman.testing.proxy import RunningProxy, running_proxy

from .world import run, written

HOST = "www.example.com"
INTERCEPT = 'default = "intercept"'
Answer = tuple[int, dict[str, str], bytes]


class Origin:
    """Answers every request of a connection with what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                body = await reader.readexactly(length)
                self.asked.append(head + body)
                answer = gzip.compress(b"asked: " + head.split(b" ")[1] + b" " + body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class Client:
    """One kept connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, proxy: RunningProxy) -> Client:
        context = authority.client_context()
        context.load_verify_locations(proxy.ready.root_pem)
        return cls(*await asyncio.open_connection(*proxy.address, ssl=context, server_hostname=HOST))

    async def ask(self, path: str = "/", *, method: str = "GET", body: bytes = b"", more: str = "") -> Answer:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{length}{more}\r\n".encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        received = await self.reader.readexactly(int(headers["content-length"]))
        return (
            int(head[0].split()[1]),
            headers,
            gzip.decompress(received) if "content-encoding" in headers else received,
        )

    def close(self) -> None:
        self.writer.close()


async def with_addon(
    tmp_path: Path, text: str, scenario: object, *, settings: tuple[str, ...] = (), builtin: str | None = None
) -> None:
    """`scenario(proxy, origin, client)` with the addon at work on a kept connection."""
    origin = Origin()
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=authority.server_context(HOST))
    source = f"builtin:{builtin}" if builtin else str(written(tmp_path / "addon.py", text))
    async with server, running_proxy(tmp_path, INTERCEPT, addons=(source,), addon_settings=settings) as proxy:
        proxy.redirect_to(server.sockets[0].getsockname()[1])
        client = await Client.connect(proxy)
        assert callable(scenario)
        await scenario(proxy, origin, client)
        client.close()


def test_requests_and_answers_are_changed_with_their_bodies_and_framing(tmp_path: Path) -> None:
    text = """
from mitmproxy import http

def request(flow: http.HTTPFlow) -> None:
    flow.request.query["by"] = "addon"
    flow.request.headers["x-app"] = f"{flow.app} {flow.pid} {flow.decision} {flow.rule}"
    if flow.request.urlencoded_form:
        flow.request.urlencoded_form["who"] = "somebody longer"

def response(flow):
    flow.response.text += "!"
    flow.response.headers["x-seen"] = flow.id
"""

    async def scenario(proxy: RunningProxy, origin: Origin, client: Client) -> None:
        for _ in range(20):  # in a thread at first, on the loop in the end
            status, headers, body = await client.ask("/a?x=1")
            assert (status, body) == (200, b"asked: /a?x=1&by=addon !") and headers["x-seen"]
        form = "Content-Type: application/x-www-form-urlencoded\r\n"
        _, _, body = await client.ask("/f", method="POST", body=b"who=me&z=1", more=form)
        assert body == b"asked: /f?by=addon who=somebody+longer&z=1!"
        assert b"x-app: /usr/bin/app 4711 intercept default\r\n" in origin.asked[-1]
        client.close()
        await proxy.stop()
        assert len(proxy.records()) == 21 and {record.decision for record in proxy.records()} == {"intercept"}

    run(with_addon(tmp_path, text, scenario))


def test_an_addon_answers_kills_and_sends_elsewhere(tmp_path: Path) -> None:
    text = """
from mitmproxy import http

def request(flow):
    if flow.request.path == "/here":
        flow.response = http.Response.make(418, b"made here", {"X-Made": "yes"})
    elif flow.request.path == "/dead":
        flow.kill()
    elif flow.request.path.startswith("/other/"):
        flow.request.scheme = "http"
        flow.request.host = "127.0.0.1"
        flow.request.port = int(flow.request.path.rpartition("/")[2])
"""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nelsewhere")
        writer.close()

    async def scenario(proxy: RunningProxy, origin: Origin, client: Client) -> None:
        status, headers, body = await client.ask("/here")
        assert (status, body, headers["x-made"]) == (418, b"made here", "yes")
        elsewhere = await asyncio.start_server(other, "127.0.0.1", 0)
        async with elsewhere:
            assert (await client.ask(f"/other/{elsewhere.sockets[0].getsockname()[1]}"))[2] == b"elsewhere"
        assert origin.asked == []
        assert (await client.ask("/on"))[2] == b"asked: /on "
        try:
            await client.ask("/dead")
            raise AssertionError("an answer")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        assert len(origin.asked) == 1

    run(with_addon(tmp_path, text, scenario))


def test_a_file_is_loaded_anew_while_requests_go_on(tmp_path: Path) -> None:
    def version(number: int) -> str:
        return f"def response(flow): flow.response.headers['x-version'] = '{number}'\n"

    async def scenario(proxy: RunningProxy, origin: Origin, client: Client) -> None:
        seen: list[str] = []

        async def until(number: str) -> None:
            while number not in seen:
                seen.append((await client.ask())[1]["x-version"])
                await asyncio.sleep(0.01)

        await until("1")
        written(tmp_path / "addon.py", version(2) + "# longer\n")
        await until("2")
        written(tmp_path / "addon.py", "def response(flow: # broken\n")
        for _ in range(250):  # two looks of the host and more
            seen.append((await client.ask())[1]["x-version"])
            await asyncio.sleep(0.01)
        assert seen[-1] == "2"
        written(tmp_path / "addon.py", version(3))
        await until("3")
        assert seen == sorted(seen), "once new, never old again"

    run(with_addon(tmp_path, version(1), scenario))


def test_other_connections_do_not_wait_for_a_hook_that_blocks(tmp_path: Path) -> None:
    text = """
import threading

never = threading.Event()

def request(flow):
    if flow.request.path == "/stuck":
        never.wait()
"""

    async def scenario(proxy: RunningProxy, origin: Origin, client: Client) -> None:
        stuck = asyncio.create_task(client.ask("/stuck"))
        other = await Client.connect(proxy)
        # Its hook waits behind the stuck one in the addon's thread, until both have had their budget.
        assert (await other.ask("/other"))[2] == b"asked: /other "
        assert (await stuck)[2] == b"asked: /stuck "
        for number in range(20):
            assert (await other.ask(f"/{number}"))[2] == f"asked: /{number} ".encode()
        other.close()

    run(with_addon(tmp_path, text, scenario))


def test_a_built_in_addon_with_its_options(tmp_path: Path) -> None:
    async def scenario(proxy: RunningProxy, origin: Origin, client: Client) -> None:
        _, headers, _ = await client.ask()
        assert headers["x-a"] == "1" and b"X-Q: 2\r\n" in origin.asked[0]

    settings = ("modify_headers=/~s/X-A/1", "modify_headers=/~q/X-Q/2")
    run(with_addon(tmp_path, "", scenario, settings=settings, builtin="modify_headers"))


def test_an_addon_lets_a_connection_alone(tmp_path: Path) -> None:
    text = f"""
from mitmproxy import tls

def tls_clienthello(data: tls.ClientHelloData):
    data.ignore_connection = data.client_hello.sni == "{HOST}"

def response(flow):
    flow.response.headers["x-seen"] = "1"
"""

    async def scenario(proxy: RunningProxy, origin: Origin, client: Client) -> None:
        _, headers, _ = await client.ask()
        assert "x-seen" not in headers

    run(with_addon(tmp_path, text, scenario))


def test_http2_streams_are_changed(tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    text = """
def request(flow):
    assert flow.request.is_http2 and flow.request.pretty_host == "www.example.com"
    flow.request.headers["x-asked"] = "1"

def response(flow):
    flow.response.text = flow.response.text.upper()
"""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(1 << 16):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    asked.extend(bytes(name) for name, _ in event.headers)
                    connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "text/plain")])
                    connection.send_data(event.stream_id, b"over http/2", end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server_context(HOST, alpn="h2"))
        addon = str(written(tmp_path / "addon.py", text))
        async with server, running_proxy(tmp_path, INTERCEPT, addons=(addon,)) as proxy:
            proxy.redirect_to(server.sockets[0].getsockname()[1])
            address, port = proxy.address
            process = await asyncio.create_subprocess_exec(
                curl, "-sS", "--http2", "--cacert", str(proxy.ready.root_pem), "--resolve", f"{HOST}:{port}:{address}",
                f"https://{HOST}:{port}/", stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            body, _ = await process.communicate()
        assert body == b"OVER HTTP/2" and b"x-asked" in asked

    run(scenario())


def test_websocket_messages_are_changed_and_dropped(tmp_path: Path) -> None:
    text = """
def websocket_start(flow):
    flow.metadata["started"] = True

def websocket_message(flow):
    message = flow.websocket.messages[-1]
    assert flow.metadata["started"]
    if message.from_client:
        message.text += " changed"
    if "secret" in message.text:
        message.drop()
"""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"echo {message.data}")
        return socket

    async def scenario() -> None:
        app = web.Application()
        app.router.add_get("/ws", echo)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context(HOST))
        await site.start()
        addon = str(written(tmp_path / "addon.py", text))
        async with running_proxy(tmp_path, INTERCEPT, addons=(addon,)) as proxy:
            proxy.redirect_to(runner.addresses[0][1])
            context = ssl.create_default_context(cafile=str(proxy.ready.root_pem))
            url = f"https://127.0.0.1:{proxy.address[1]}/ws"
            headers = {"Host": HOST}
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(url, ssl=context, server_hostname=HOST, headers=headers) as socket,
            ):
                for word in ("one", "a secret", "two"):
                    await socket.send_str(word)
                assert [await socket.receive_str() for _ in range(2)] == ["echo one changed", "echo two changed"]
        await runner.cleanup()

    run(scenario())
