"""Messages that a script makes up, in a whole proxy on real sockets; and what it is told when it cannot."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from pointsman.addons.context import CommandError, ctx
from pointsman.engine.injection import WAITING_LIMIT, Injections
from pointsman.engine.messages import TcpMessage, WebSocketData
from pointsman.testing import authority
from pointsman.testing.proxy import RunningProxy, running_proxy

from .world import connection, http_flow, run, world, written

HOST = "www.example.com"
INTERCEPT = 'default = "intercept"'


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(b"echo " + message.data)
        else:
            await socket.send_str(f"echo {message.data}")
    return socket


@asynccontextmanager
async def chat(proxy: RunningProxy) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket over TLS through the proxy, with compression, to an origin that echoes."""
    app = web.Application()
    app.router.add_get("/ws", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context(HOST)).start()
    proxy.redirect_to(runner.addresses[0][1])
    context = ssl.create_default_context(cafile=str(proxy.ready.root_pem))
    url = f"https://127.0.0.1:{proxy.address[1]}/ws"
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, ssl=context, server_hostname=HOST, headers={"Host": HOST}, compress=15) as socket,
        ):
            yield socket
    finally:
        await runner.cleanup()


def test_a_script_answers_for_the_origin_and_asks_for_the_app(tmp_path: Path) -> None:
    text = """
from mitmproxy import ctx, http

def websocket_message(flow: http.HTTPFlow):
    message = flow.websocket.messages[-1]
    if message.injected:
        return
    if message.from_client and message.text == "who is there":
        message.drop()
        ctx.master.commands.call("inject.websocket", flow, True, b"the proxy")
    elif message.from_client and message.text == "ask":
        message.drop()
        ctx.master.commands.call("inject.websocket", flow, False, "asked by the proxy")
        ctx.master.commands.call("inject.websocket", flow, False, b"\\x00\\x01", False)
"""

    async def scenario() -> None:
        addon = str(written(tmp_path / "a.py", text))
        async with running_proxy(tmp_path, INTERCEPT, addons=(addon,)) as proxy, chat(proxy) as socket:
            for _ in range(15):  # in a thread at first, on the loop in the end
                await socket.send_str("who is there")
                assert await socket.receive_str() == "the proxy"
            await socket.send_str("ask")
            assert await socket.receive_str() == "echo asked by the proxy"
            assert await socket.receive_bytes() == b"echo \x00\x01"
            await socket.send_str("plain")
            assert await socket.receive_str() == "echo plain"

    run(scenario())


def test_a_task_speaks_for_as_long_as_the_websocket_is_open(tmp_path: Path) -> None:
    text = """
import asyncio
from mitmproxy import ctx

over = asyncio.Event()

async def speak(flow):
    number = 0
    while flow.websocket.timestamp_end is None:
        ctx.master.commands.call("inject.websocket", flow, True, f"word {number}".encode())
        number += 1
        await asyncio.sleep(0.01)
    over.set()

def websocket_start(flow):
    flow.metadata["task"] = asyncio.create_task(speak(flow))
"""

    async def scenario() -> None:
        async with running_proxy(tmp_path, INTERCEPT, addons=(str(written(tmp_path / "a.py", text)),)) as proxy:
            async with chat(proxy) as socket:
                assert [await socket.receive_str() for _ in range(3)] == ["word 0", "word 1", "word 2"]
            script: Any = ctx.master.addons.get("module")
            await script.over.wait()

    run(scenario())


def test_a_script_greets_on_a_tcp_stream(tmp_path: Path) -> None:
    text = """
from mitmproxy import ctx, tcp

def tcp_message(flow: tcp.TCPFlow):
    if not flow.injected and flow.from_client:
        ctx.master.commands.call("inject.tcp", flow, True, b"greeting ")
        ctx.master.commands.call("inject.tcp", flow, False, b"more")
"""

    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(b"<" + data + b">")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        addon = str(written(tmp_path / "a.py", text))
        async with server, running_proxy(tmp_path, INTERCEPT, addons=(addon,)) as proxy:
            proxy.redirect_to(server.sockets[0].getsockname()[1])
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"\x01\x02 no http")
            received = b""
            while not (b"greeting " in received and b"no http" in received and b"more>" in received):
                received += await reader.read(100)
            writer.close()

    run(scenario())


def test_what_cannot_be_injected_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(written(tmp_path / "a.py", "def websocket_message(flow): pass\n")) as here:
            assert "inject" in here.host.wanted
            call = ctx.master.commands.call
            flow = http_flow()
            with pytest.raises(CommandError, match="no WebSocket"):
                call("inject.websocket", flow, True, b"x")
            flow.websocket = WebSocketData(injections=Injections())
            with pytest.raises(CommandError, match="bytes or str"):
                call("inject.websocket", flow, True, 7)
            with pytest.raises(CommandError, match="a copy"):
                call("inject.websocket", flow.copy(), True, b"x")
            with pytest.raises(CommandError, match="no TCP"):
                call("inject.tcp", flow, True, b"x")
            with pytest.raises(CommandError, match="nobody listened"):
                call("inject.tcp", TcpMessage(connection(), "intercept", "default", True, b""), True, b"x")
            for _ in range(WAITING_LIMIT):
                call("inject.websocket", flow, True, b"x")
            await asyncio.sleep(0)
            with pytest.raises(CommandError, match="wait already"):
                call("inject.websocket", flow, True, b"x")
            assert flow.websocket.injections is not None
            flow.websocket.injections.close()
            with pytest.raises(CommandError, match="is over"):
                call("inject.websocket", flow, True, b"x")

    run(scenario())
