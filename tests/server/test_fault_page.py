"""The page for an origin that cannot prove itself, as curl gets it; and the relay that a rule may prefer."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.server.intercepting import Intercepting, intercepting

from pointsman.testing import authority

HOST = "www.example.com"
PATIENCE = 20.0
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def curl(proxy: Intercepting, root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    address, port = proxy.address
    return subprocess.run(
        ["curl", "-sS", "--cacert", root, "--resolve", f"{HOST}:{port}:{address}", *options, f"https://{HOST}:{port}/x"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


async def visit(directory: Path, policy: str, root: Path | None, *options: str) -> tuple[str, Intercepting]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
        writer.close()

    context = authority.server_context(HOST, signed_by=authority.root("unknown"))
    origin = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with origin, intercepting(directory, policy=policy) as proxy:
        proxy.redirect_to(origin.sockets[0].getsockname()[1])
        done = await asyncio.to_thread(curl, proxy, root or proxy.root_pem, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout, proxy


@pytest.mark.parametrize("action", ["inspect", "intercept"])
@pytest.mark.parametrize("options", [(), ("--http1.1",), ("--tls-max", "1.2"), ("--data-binary", "@body")])
def test_curl_gets_the_page(tmp_path: Path, action: str, options: tuple[str, ...]) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(2 << 20))
    options = tuple(option.replace("@body", f"@{body}") for option in options)
    policy = f'[[rule]]\naction = "{action}"\non_invalid = "page"\n'
    page, proxy = asyncio.run(
        asyncio.wait_for(visit(tmp_path, policy, None, "-w", "%{http_code}", *options), 2 * PATIENCE)
    )

    assert page.endswith("502") and "unable to get local issuer certificate" in page and HOST in page
    (record,) = proxy.records
    assert (record.status, record.path, record.decision) == (502, "/x", action)
    assert record.note is not None and record.note.startswith("the app got an error page of ours")


def test_curl_reaches_the_origin_where_the_rule_relays(tmp_path: Path) -> None:
    """curl trusts the root that we do not: its judgement counts."""
    root = tmp_path / "unknown.pem"
    root.write_text(authority.pem(authority.root("unknown")))
    policy = '[[rule]]\naction = "inspect"\non_invalid = "relay"\n'
    page, proxy = asyncio.run(asyncio.wait_for(visit(tmp_path, policy, root), 2 * PATIENCE))

    assert page == "hello\n"
    (record,) = proxy.records
    assert (record.decision, record.note) == ("relay", "not decrypted: the origin's certificate is not valid")
