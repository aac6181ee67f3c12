"""An app resumes its TLS session with the proxy, and tickets that it does not read harm nobody."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.server.intercepting import Intercepting, intercepting

from pointsman.testing import authority

HOST = "www.example.com"
PATIENCE = 20.0
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
POLICIES = ['default = "inspect"', 'default = "intercept"']


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
    writer.close()


def run(directory: Path, policy: str, client: Callable[[Intercepting], None]) -> None:
    async def scenario() -> None:
        origin = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=authority.server_context(HOST))
        async with origin, intercepting(directory, policy=policy) as proxy:
            proxy.redirect_to(origin.sockets[0].getsockname()[1])
            await asyncio.to_thread(client, proxy)

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))


def python_client(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = authority.client_context(trusts=authority.root("proxy"))
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_python_resumes_what_it_kept(tmp_path: Path, version: ssl.TLSVersion, policy: str) -> None:
    context = python_client(version)
    reused: list[bool | None] = []

    def visits(proxy: Intercepting) -> None:
        session = None
        for _ in range(3):
            with (
                socket.create_connection(proxy.address, PATIENCE) as raw,
                context.wrap_socket(raw, server_hostname=HOST, session=session) as tls,
            ):
                tls.sendall(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
                assert b"".join(iter(lambda: tls.recv(4096), b"")).endswith(b"hello\n")
                session = tls.session
                reused.append(tls.session_reused)

    run(tmp_path, policy, visits)
    assert reused == [False, True, True]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_app_that_sends_and_closes_without_reading_ends_with_fin(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Tickets unread in its socket would make its kernel send RST, and what it had sent be lost."""
    arrived: list[int] = []
    all_there = asyncio.Event()
    size = 3 << 20

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        try:
            while data := await reader.read(1 << 16):
                count += len(data)
        except ConnectionError:
            count = -1
        arrived.append(count)
        writer.close()
        if len(arrived) == 5:
            all_there.set()

    def client(proxy: Intercepting) -> None:
        for _ in range(5):
            with socket.create_connection(proxy.address, PATIENCE) as raw:
                tls = python_client(version).wrap_socket(raw, server_hostname=HOST)
                tls.sendall(bytes(size))
                tls.close()

    async def scenario() -> None:
        origin = await asyncio.start_server(collect, "127.0.0.1", 0, ssl=authority.server_context(HOST))
        async with origin, intercepting(tmp_path, policy='default = "inspect"') as proxy:
            proxy.redirect_to(origin.sockets[0].getsockname()[1])
            await asyncio.to_thread(client, proxy)
            await asyncio.wait_for(all_there.wait(), PATIENCE)
        assert [record.error for record in proxy.records] == [None] * 5

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))
    assert arrived == [size] * 5


NODE = """
const tls = require('tls'), fs = require('fs');
const [,, port, ca] = process.argv;
function visit(session, next) {
  let kept = session, text = '', reused = null;
  const s = tls.connect({port, host: '127.0.0.1', servername: 'www.example.com', ca: fs.readFileSync(ca), session,
                         maxVersion: process.argv[4]}, () => {
    reused = s.isSessionReused();
    s.write('GET / HTTP/1.1\\r\\nHost: www.example.com\\r\\n\\r\\n');
  });
  s.on('session', (one) => { kept = one; });
  s.on('data', (data) => { text += data; });
  s.on('error', (error) => { console.log('error', error.code); process.exit(1); });
  s.on('close', () => { console.log(text.endsWith('hello\\n'), reused); next(kept); });
}
visit(undefined, (first) => visit(first, (second) => visit(second, () => {})));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_node_resumes_what_it_kept(tmp_path: Path, version: str) -> None:
    import subprocess

    def client(proxy: Intercepting) -> None:
        script = tmp_path / "client.js"
        script.write_text(NODE)
        done = subprocess.run(
            ["node", script, str(proxy.address[1]), proxy.root_pem, version],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.stdout.splitlines() == ["true false", "true true", "true true"], done.stderr

    run(tmp_path, 'default = "inspect"', client)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_resumes_within_one_run(tmp_path: Path) -> None:
    import subprocess

    def client(proxy: Intercepting) -> None:
        address, port = proxy.address
        url = f"https://{HOST}:{port}/"
        done = subprocess.run(
            ["curl", "-sSv", "--cacert", proxy.root_pem, "--resolve", f"{HOST}:{port}:{address}", url, url, url],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.stdout == "hello\n" * 3, done.stderr
        assert done.stderr.count("handshake, Certificate (11)") == 1, "the later ones went without a certificate"

    run(tmp_path, 'default = "inspect"', client)
