"""Proxies that we did not write, as upstreams: tinyproxy, microsocks and pproxy, each where it is installed."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pointsman.authority.issue import issue_leaf
from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, running_proxy

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"
TINYPROXY, MICROSOCKS = shutil.which("tinyproxy"), shutil.which("microsocks")
HAS_PPROXY = importlib.util.find_spec("pproxy") is not None
PPROXY = """
import asyncio, sys
sys.modules["uvloop"] = None  # it asks for a loop in a way that newer ones of uvloop, and of Python, refuse
asyncio.set_event_loop(asyncio.new_event_loop())
from pproxy.server import main
main()
"""
needs = pytest.mark.skipif
PEERS = [
    pytest.param("tinyproxy", marks=needs(TINYPROXY is None, reason="no tinyproxy (Debian: tinyproxy-bin)")),
    pytest.param("microsocks", marks=needs(MICROSOCKS is None, reason="no microsocks (Debian: microsocks)")),
    pytest.param("pproxy http", marks=needs(not HAS_PPROXY, reason="no pproxy (PyPI)")),
    pytest.param("pproxy socks5", marks=needs(not HAS_PPROXY, reason="no pproxy (PyPI)")),
    pytest.param("pproxy https", marks=needs(not HAS_PPROXY, reason="no pproxy (PyPI)")),
]


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 2 * PATIENCE))


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def command(peer: str, port: int, directory: Path) -> list[str]:
    """A proxy on 127.0.0.1 that wants alice with the password wonder."""
    kind, _, scheme = peer.partition(" ")
    if kind == "tinyproxy":
        config = directory / "tinyproxy.conf"
        config.write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 60\nBasicAuth alice wonder\nLogLevel Error\n")
        return [str(TINYPROXY), "-d", "-c", str(config)]
    if kind == "microsocks":
        return [str(MICROSOCKS), "-i", "127.0.0.1", "-p", str(port), "-u", "alice", "-P", "wonder"]
    listen = f"{scheme.removesuffix('s')}{'+ssl' if scheme == 'https' else ''}://127.0.0.1:{port}#alice:wonder"
    secure = ["--ssl", str(certificate_file(directory))] if scheme == "https" else []
    return [sys.executable, "-c", PPROXY, "-l", listen, *secure]


def certificate_file(directory: Path) -> Path:
    """A certificate and its key for 127.0.0.1, from the root that the proxy under test trusts."""
    file = directory / "peer.pem"
    key = authority.key("peer")
    leaf = issue_leaf(authority.root(), ("127.0.0.1",), key.public_key(), now=datetime.now(UTC), serial=7)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM))
    return file


@asynccontextmanager
async def running(peer: str, directory: Path) -> AsyncIterator[int]:
    port = free_port()
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command(peer, port, directory), stdout=quiet, stderr=quiet)
    try:
        async with asyncio.timeout(PATIENCE):
            await listening(port, process)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def listening(port: int, process: asyncio.subprocess.Process) -> None:
    while True:
        assert process.returncode is None, "it has ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)  # nothing else tells when another program listens
        else:
            writer.close()
            return


@pytest.mark.parametrize("peer", PEERS)
def test_a_real_proxy_carries_an_intercepted_connection_and_its_refusals_are_understood(
    tmp_path: Path, peer: str
) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PAGE)
        writer.close()

    async def get(proxy_address: tuple[str, int], root: Path) -> bytes:
        context = ssl.create_default_context(cafile=str(root))
        reader, writer = await asyncio.open_connection(*proxy_address, ssl=context, server_hostname="localhost")
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            return await reader.read()
        finally:
            writer.close()

    scheme = {"microsocks": "socks5", "pproxy socks5": "socks5", "pproxy https": "https"}.get(peer, "http")

    async def scenario() -> None:
        server = await asyncio.start_server(page, "127.0.0.1", 0, ssl=authority.server_context("localhost"))
        origin: int = server.sockets[0].getsockname()[1]
        async with server, running(peer, tmp_path) as port:
            for password, is_right in (("wrong", False), ("wonder", True)):  # pproxy remembers who was right
                directory = tmp_path / password
                directory.mkdir()
                text = (
                    f'[upstreams]\nu = "{scheme}://alice:{password}@127.0.0.1:{port}"\n'
                    '[[rule]]\naction = "inspect"\nupstream = "u"'
                )
                async with running_proxy(directory, text) as proxy:
                    if not is_right:
                        proxy.redirect_to(origin)
                        with pytest.raises(ssl.SSLError):
                            await get(proxy.address, proxy.ready.root_pem)
                        await proxy.stop()
                        error = proxy.records()[0].error or ""
                        assert "HTTP 40" in error or "refused user and password" in error or "closed" in error, error
                        continue
                    proxy.redirect_to(origin, "127.0.0.1")
                    assert await get(proxy.address, proxy.ready.root_pem) == PAGE
                    proxy.redirect_to(free_port())
                    with pytest.raises(ssl.SSLError):
                        await get(proxy.address, proxy.ready.root_pem)
                    await proxy.stop()
                    good, bad = proxy.records()
                    assert (good.status, good.upstream) == (200, f"u ({scheme}://127.0.0.1:{port})")
                    assert bad.error is not None

    run(scenario())
