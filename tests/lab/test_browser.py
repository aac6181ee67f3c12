"""A browser over HTTP/2 in the lab: pages, uploads, event streams, WebSockets, what is long and what is cut off."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pointsman.engine.flow_record import FlowRecord
from pointsman.lab.network import Network
from pointsman.lab.session import Session, SessionSettings
from pointsman.testing import authority

from .world import PROGRAMS

CHROMIUM, NODE = shutil.which("chromium"), shutil.which("node")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(NODE is None, reason="node, which the origin is written for, is not installed"),
]
HOST, ADDRESS = "www.example.com", "203.0.113.10"
PATIENCE = 60.0  # seconds: a browser takes its time to start
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
]  # fmt: skip
LISTENING = """
count = 0

def websocket_message(flow):
    global count
    count += 1
    if count == 1:
        flow.websocket.messages[-1].text = "a longer text"
"""
ADDONS = {
    "inspect": "",
    "a header": "def responseheaders(flow):\n    flow.response.headers['x-seen'] = 'yes'\n",
    "a body": (
        "def response(flow):\n"
        "    flow.response.headers['x-seen'] = 'yes'\n"
        "    if flow.request.path == '/text':\n"
        "        flow.response.text = flow.response.text.upper()\n"
    ),
}


@asynccontextmanager
async def node_origin(folder: Path, *, extended: bool) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
    """Its port, and where its report comes."""
    leaf = folder / "leaf.pem"
    authority.write_leaf(leaf, HOST)
    origin = await asyncio.create_subprocess_exec(
        str(NODE), str(PROGRAMS / "browser_origin.mjs"), str(leaf), str(extended).lower(),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert origin.stdout is not None
    try:
        yield int(await asyncio.wait_for(origin.stdout.readline(), PATIENCE)), origin.stdout
    finally:
        origin.kill()
        await origin.wait()


async def browse(folder: Path, addon: str, *, extended: bool) -> tuple[dict[str, Any], list[FlowRecord]]:
    """What the origin reports, and the records."""
    (folder / "root.pem").write_text(authority.pem(authority.root()))
    (folder / "addon.py").write_text(addon)
    policy = folder / "policy.toml"
    policy.write_text(f'default = "{"intercept" if addon else "inspect"}"\n')
    records: list[FlowRecord] = []
    async with node_origin(folder, extended=extended) as (port, told):
        settings = SessionSettings(
            network=Network.parse(maps=[f"{ADDRESS}:443=127.0.0.1:{port}"], names=[f"{HOST}={ADDRESS}"]),
            policy=policy,
            upstream_ca=(folder / "root.pem",),
            addons=(str(folder / "addon.py"),) if addon else (),
        )
        async with Session(settings, on_record=records.append) as session:
            proxy = await session.start_proxy()
            browser = await session.machine.spawn(
                [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", f"https://{HOST}/"],
                env=session.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                report = json.loads(await asyncio.wait_for(told.readline(), PATIENCE))
            finally:
                browser.send_signal(signal.SIGTERM)
                await browser.wait()
            await proxy.stop()
    assert isinstance(report, dict)
    return report, records


@pytest.mark.parametrize("extended", [False, True], ids=["WebSocket over HTTP/1.1", "WebSocket over HTTP/2"])
@pytest.mark.parametrize("kind", ADDONS)
def test_a_page_works_over_http2_as_without_a_proxy(tmp_path: Path, kind: str, extended: bool) -> None:
    report, records = asyncio.run(browse(tmp_path, ADDONS[kind], extended=extended))

    page = report["page"]
    assert page == {
        "images": [7] * 50,
        "fetches": list(range(50)),
        "seen": None if kind == "inspect" else "yes",
        "text": "SOME TEXT" if kind == "a body" else "some text",
        "post": True,
        "missing": 404,
        "events": ["1", "2", "3"],
        "socket": {"got": [4, [1, 2, 3], 0, 70000], "code": 4001, "clean": True},
        "large": 20 << 20,
        "cancel": "AbortError",
        "protocols": ["h2"],
    }
    assert report["sockets"] == [["h2" if extended else "http/1.1", 4001]]
    by_path = {one.path: one for one in records if one.host == HOST}
    assert {f"/image/{n}" for n in range(50)} <= set(by_path)
    assert (by_path["/large"].protocol, by_path["/large"].status) == ("h2", 200)
    assert by_path["/large"].bytes_down > 20 << 20
    assert by_path["/missing"].status == 404
    cancelled = by_path["/endless"].error
    assert cancelled is not None and "app" in cancelled


@pytest.mark.parametrize("extended", [False, True], ids=["offered over HTTP/1.1", "offered over HTTP/2"])
def test_who_listens_to_websockets_hears_them_however_they_are_offered(tmp_path: Path, extended: bool) -> None:
    report, records = asyncio.run(browse(tmp_path, LISTENING, extended=extended))

    assert report["page"]["socket"] == {"got": [len("a longer text"), [1, 2, 3], 0, 70000], "code": 4001, "clean": True}
    assert report["sockets"] == [["http/1.1", 4001]]
    (told,) = [one for one in records if one.method == "WEBSOCKET"]
    assert told.note is not None and told.note.startswith("4 messages up, 4 down")
    assert report["page"]["protocols"] == ["h2"], "for all the rest"
