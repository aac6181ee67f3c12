"""Scripts that decide about connections, in a whole proxy on real sockets."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from pointsman.addons.context import ctx
from pointsman.testing import authority
from pointsman.testing.proxy import RunningProxy, running_proxy

from .world import run, written

HOST = "www.example.com"
INTERCEPT = 'default = "intercept"'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def issuer(proxy: RunningProxy, *, trusts_us: bool) -> str:
    """Who signed what an app gets to see, by name; the app asks for a page.  Raises SSLError if it is refused."""
    context = authority.client_context()
    if trusts_us:
        context.load_verify_locations(proxy.ready.root_pem)
    reader, writer = await asyncio.open_connection(*proxy.address, ssl=context, server_hostname=HOST)
    writer.write(GET)
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    certificate: Any = writer.get_extra_info("peercert")
    writer.close()
    return str(dict(pair for part in certificate["issuer"] for pair in part)["organizationName"])


def test_what_an_app_has_refused_once_is_let_alone_by_the_scripts_own_memory(tmp_path: Path) -> None:
    text = """
import collections
from mitmproxy import connection, tls

history = collections.defaultdict(list)

def tls_clienthello(data: tls.ClientHelloData):
    address = data.context.server.peername or data.context.server.address
    if "failed" in history[address]:
        data.ignore_connection = True
        history[address].append("skipped")

def tls_established_client(data: tls.TlsData):
    assert data.conn is data.context.client and data.conn.tls_version
    history[data.context.server.address].append("established")

def tls_failed_client(data: tls.TlsData):
    assert data.conn.error
    history[data.context.server.address].append("failed")
"""

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server_context(HOST))
        addon = str(written(tmp_path / "a.py", text))
        async with server, running_proxy(tmp_path, INTERCEPT, addons=(addon,)) as proxy:
            port = server.sockets[0].getsockname()[1]
            proxy.redirect_to(port)
            ours = await issuer(proxy, trusts_us=True)
            with pytest.raises(ssl.SSLError):
                await issuer(proxy, trusts_us=False)
            script: Any = ctx.master.addons.get("module")
            while "failed" not in (known := script.history[("127.0.0.1", port)]):
                await asyncio.sleep(0.01)
            theirs = await issuer(proxy, trusts_us=False)
            assert ours == "Pointsman" and theirs == await issuer(proxy, trusts_us=True)
            assert known == ["established", "failed", "skipped", "skipped"]

    run(scenario())


def test_a_script_dials_elsewhere_by_name_and_forbids(tmp_path: Path) -> None:
    text = """
from mitmproxy.proxy import server_hooks

to = None
told = []

def server_connect(data: server_hooks.ServerConnectionHookData):
    if to is None:
        data.server.error = "not now"
    else:
        data.server.address = to

def server_connected(data):
    told.append(data.server.address)

def server_disconnected(data):
    told.append("over")
"""

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        addon = str(written(tmp_path / "a.py", text))
        async with server, running_proxy(tmp_path, INTERCEPT, addons=(addon,)) as proxy:
            proxy.redirect_to(9, "192.0.2.1")  # where nobody answers
            script: Any = ctx.master.addons.get("module")
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(GET)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            script.to = ("localhost", server.sockets[0].getsockname()[1])
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(GET)
            assert await reader.readexactly(len(ANSWER)) == ANSWER
            writer.close()
            while "over" not in script.told:
                await asyncio.sleep(0.01)
            assert script.told[0][1] == script.to[1] and script.told[0][0] in ("127.0.0.1", "::1")
            script.to = ("no such host", 80)
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(GET)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            await proxy.stop()
            errors = [record.error for record in proxy.records() if record.error]
            assert "not now" in errors[0] and "no such host" in errors[1]

    run(scenario())
