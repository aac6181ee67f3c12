"""A Linux gateway whose two workers go on through a SOCKS proxy, in a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = ("unshare", "nft", "ip")
IN_A_NAMESPACE = r"""
import asyncio, json, subprocess, sys
from pointsman.testing.upstream_proxy import upstream_proxy

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
rules = "table inet nat {\nchain out {\ntype nat hook output priority -100\ntcp dport 80 redirect to :8443\n}\n}\n"
subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

async def page(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
    writer.close()

async def get():
    reader, writer = await asyncio.open_connection("127.0.0.2", 80)
    writer.write(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer

async def main(directory):
    server = await asyncio.start_server(page, "127.0.0.1", 0)
    names = {"www.example.com": server.sockets[0].getsockname()[1]}
    async with server, upstream_proxy("socks5", names=names) as far:
        with open(f"{directory}/policy.toml", "w") as policy:
            policy.write(f'[upstreams]\nu = "{far.url()}"\n[[rule]]\naction = "inspect"\nupstream = "u"\n')
        proxy = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "pointsman", "run", "--source", "netfilter", "--port", "8443", "--json",
            "--workers", "2", "--policy", f"{directory}/policy.toml", "--ca", f"{directory}/ca",
            stdout=subprocess.PIPE,
        )
        assert json.loads(await proxy.stdout.readline())["ready"]
        answers = await asyncio.gather(*(get() for _ in range(20)))
        print(sum(answer.endswith(b"hi") for answer in answers), set(far.asked))
        proxy.terminate()
        records = [json.loads(line) for line in (await proxy.stdout.read()).splitlines()]
        print(await proxy.wait(), len(records), {record["status"] for record in records})
        print({record["upstream"] == f"u ({far.url()})" for record in records})

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, TOOLS)), reason="needs root, unshare, nft and ip to make a redirect"
)
def test_a_gateway_with_two_workers_goes_on_through_an_upstream(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE, str(tmp_path)],
        capture_output=True, text=True, env=environment, timeout=100, check=False,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr and not done.stdout:
        pytest.skip("this machine does not let us make a namespace or nft rules")
    assert done.stdout.splitlines() == ["20 {('www.example.com', 80)}", "0 20 {200}", "{True}"], done.stderr
