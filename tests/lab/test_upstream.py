"""Per app, decrypted and through a chain, all at once: real programs under the real driver, proxies as upstreams."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pointsman.engine.flow_record import FlowRecord
from pointsman.lab.flows import KernelFlow
from pointsman.lab.network import Network
from pointsman.lab.session import Session, SessionSettings
from pointsman.testing import authority
from pointsman.testing.upstream_proxy import UpstreamProxy, upstream_proxy
from pointsman.wire.abi import Verdict

from .world import TIMEOUT, Origin

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("wget")), reason="curl and wget are the two apps"
)
HOST = "shop.example"
NEAR, FAR = "203.0.113.21", "203.0.113.22"


async def run_program(session: Session, argv: Sequence[str]) -> int:
    program = await session.machine.spawn(
        argv, env=session.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    return await asyncio.wait_for(program.wait(), TIMEOUT)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::9"])
def test_one_app_goes_decrypted_through_a_chain_and_another_goes_straight(
    tmp_path: Path, address: str, workers: str
) -> None:
    async def scenario() -> None:
        told = Origin()
        loopback = "::1" if ":" in address else "127.0.0.1"
        server = await asyncio.start_server(told.serve, loopback, 0, ssl=authority.server_context(HOST))
        for_chain = await asyncio.start_server(told.serve, "127.0.0.1", 0, ssl=authority.server_context(HOST))
        origin_port: int = server.sockets[0].getsockname()[1]
        tls: ssl.SSLContext = authority.server_context(NEAR)
        async with (
            server,
            for_chain,
            upstream_proxy("http", tls=tls, user=("alice", "wonder")) as near,
            upstream_proxy("socks5", names={HOST: for_chain.sockets[0].getsockname()[1]}) as far,
        ):
            near.names[FAR] = far.port
            await check(tmp_path, address, workers, origin_port, near, far)

    asyncio.run(scenario())


async def check(
    directory: Path, address: str, workers: str, origin_port: int, near: UpstreamProxy, far: UpstreamProxy
) -> None:
    (directory / "root.pem").write_text(authority.pem(authority.root()))
    policy = directory / "policy.toml"
    policy.write_text(
        'default = "inspect"\n'
        f'[upstreams]\nchain = ["https://alice:wonder@{NEAR}:3128", "socks5://{FAR}:1080"]\n'
        '[[rule]]\nname = "curl by chain"\napp = "curl"\naction = "inspect"\nupstream = "chain"\n'
    )
    straight_to = f"[{address}]:443=[::1]" if ":" in address else f"{address}:443=127.0.0.1"
    maps = [f"{NEAR}:3128=127.0.0.1:{near.port}", f"{straight_to}:{origin_port}"]
    records: list[FlowRecord] = []
    flows: list[KernelFlow] = []
    settings = SessionSettings(
        network=Network.parse(maps=maps, names=[f"{HOST}={address}"]),
        policy=policy,
        upstream_ca=(directory / "root.pem",),
        run_options=("--workers", workers),
    )
    async with Session(settings, on_record=records.append, on_flow=flows.append) as session:
        proxy = await session.start_proxy()
        assert await run_program(session, ["curl", "-sS", f"https://{HOST}/by-chain"]) == 0
        asked_by_curl = (list(near.asked), list(far.asked))
        assert await run_program(session, ["wget", "-q", "-O", "-", f"https://{HOST}/straight"]) == 0
        await proxy.stop()
    assert asked_by_curl == ([(FAR, 1080)], [(HOST, 443)])
    assert (near.asked, far.asked) == asked_by_curl, "nothing of wget"
    by_path = {record.path: record for record in records}
    chained, straight = by_path["/by-chain"], by_path["/straight"]
    assert (chained.status, chained.protocol, chained.rule) == (200, "https", "curl by chain")
    assert chained.upstream == f"chain (https://{NEAR}:3128 > socks5://{FAR}:1080)"
    assert (straight.status, straight.upstream, straight.rule) == (200, None, "default")
    redirected = [flow for flow in flows if flow.verdict is Verdict.REDIRECT]
    assert len(redirected) == 2, "the two of the programs, and none that the proxy or a worker made"
