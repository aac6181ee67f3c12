"""nghttp2's own programs, curl and Node through the whole proxy: many streams, small windows, large heads, uploads."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, RunningProxy, running_proxy

HOST = "localhost"
NODE, CURL, H2LOAD, NGHTTP = (shutil.which(name) for name in ("node", "curl", "h2load", "nghttp"))
pytestmark = pytest.mark.skipif(NODE is None, reason="no Node here, which is the origin")
POLICIES = pytest.mark.parametrize("policy", ["inspect", "intercept", "intercept, with a listener"])
UPLOAD = 1 << 20
LISTENER = "def response(flow):\n    flow.response.headers['x-seen'] = 'yes'\n"
SERVER = """
  import http2 from "node:http2"; import fs from "node:fs";
  const pem = fs.readFileSync(process.argv[1]);
  const server = http2.createSecureServer({cert: pem, key: pem, maxHeaderListPairs: 1000,
    settings: {maxHeaderListSize: 200000}});
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    let size = 0, asked = {};
    stream.on("data", part => { size += part.length; });
    stream.on("trailers", fields => { asked = fields; });
    stream.on("end", () => {
      const sent = Number(/[?]size=([0-9]+)/.exec(headers[":path"])?.[1] ?? 10);
      const large = Number(headers["x-want"] ?? 0);
      stream.respond({":status": 200, ...(large ? {"x-large": "l".repeat(large)} : {}),
        "x-got": String((headers["x-sent"] ?? "").length)}, {waitForTrailers: true});
      stream.on("wantTrailers", () => stream.sendTrailers(
        {"x-size": String(size), "x-trailer": asked["x-check"] ?? "none"}));
      stream.end(Buffer.alloc(sent, 97));
    });
  });
  server.on("sessionError", () => {});
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""
CLIENT = """
  import http2 from "node:http2"; import fs from "node:fs";
  const [port, ca, initialWindowSize, size] = process.argv.slice(1);
  const session = http2.connect(`https://localhost:${port}`, {ca: fs.readFileSync(ca), family: 4,
    settings: {initialWindowSize: Number(initialWindowSize)}});
  const ask = () => new Promise(done => {
    const stream = session.request({":path": "/?size=" + size});
    let got = 0, trailers = {};
    stream.on("trailers", fields => { trailers = fields; });
    stream.on("data", part => { got += part.length; });
    stream.on("error", error => done(String(error)));
    stream.on("end", () => done([got, trailers["x-size"]]));
    stream.end();
  });
  console.log(JSON.stringify(await Promise.all([ask(), ask(), ask()])));
  session.close();
"""


@asynccontextmanager
async def staged(folder: Path, policy: str) -> AsyncIterator[RunningProxy]:
    leaf = folder / "leaf.pem"
    authority.write_leaf(leaf, HOST)
    origin = await asyncio.create_subprocess_exec(
        str(NODE), "--input-type=module", "-e", SERVER, str(leaf), stdout=asyncio.subprocess.PIPE
    )
    assert origin.stdout is not None
    depth, _, listens = policy.partition(", ")
    (folder / "addon.py").write_text(LISTENER)
    try:
        port = int(await asyncio.wait_for(origin.stdout.readline(), PATIENCE))
        addons = (str(folder / "addon.py"),) if listens else ()
        async with running_proxy(folder, f'default = "{depth}"', addons=addons) as proxy:
            proxy.redirect_to(port)
            yield proxy
    finally:
        origin.kill()
        await origin.wait()


async def run(*command: str) -> str:
    """Standard output of a program that succeeds."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, out
    return out.decode("utf-8", "replace")


@pytest.mark.skipif(H2LOAD is None, reason="no h2load here")
@POLICIES
@pytest.mark.parametrize(
    ("requests", "streams", "window", "size"),
    [(3000, 100, 16, 10), (60, 30, 16, 300_000), (300, 100, 30, 20_000), (6, 3, 1, 400)],
    ids=["many streams", "windows of 65,535", "the largest windows", "windows of 1"],
)  # fmt: skip
def test_h2load_gets_all_its_answers(
    tmp_path: Path, policy: str, requests: int, streams: int, window: int, size: int
) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, policy) as proxy:
            text = await run(
                str(H2LOAD), f"-n{requests}", "-c2", f"-m{streams}", f"-w{window}", f"-W{max(16, window)}",
                f"https://{HOST}:{proxy.address[1]}/?size={size}",
            )  # fmt: skip
            await proxy.stop()
            records = proxy.records()
        done = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed", text)
        assert done is not None and done.groups() == (str(requests), str(requests), "0"), text
        body = re.search(r"\((\d+)\) data", text)
        assert body is not None and int(body[1]) == requests * size
        assert [one.error for one in records] == [None] * requests

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))


@pytest.mark.skipif(H2LOAD is None, reason="no h2load here")
@POLICIES
def test_h2load_uploads(tmp_path: Path, policy: str) -> None:
    (tmp_path / "upload").write_bytes(bytes(UPLOAD))

    async def scenario() -> None:
        async with staged(tmp_path, policy) as proxy:
            text = await run(
                str(H2LOAD), "-n20", "-c2", "-m5", f"-d{tmp_path}/upload", f"https://{HOST}:{proxy.address[1]}/"
            )
            await proxy.stop()
            records = proxy.records()
        assert "20 succeeded, 0 failed" in text
        assert all(one.error is None and one.bytes_up > UPLOAD for one in records) and len(records) == 20

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))


@pytest.mark.skipif(NGHTTP is None, reason="no nghttp here")
@POLICIES
@pytest.mark.parametrize("window", ["1", "16"], ids=["windows of 1", "windows of 65,535"])
def test_nghttp_sends_and_gets_trailers_and_large_heads(tmp_path: Path, policy: str, window: str) -> None:
    (tmp_path / "upload").write_bytes(bytes(UPLOAD))

    async def scenario() -> None:
        async with staged(tmp_path, policy) as proxy:
            text = await run(
                str(NGHTTP), "-v", "-n", "-y", "-w", window, "-H", f"x-sent: {'s' * 12_000}",
                "-H", "x-want: 30000", "-d", str(tmp_path / "upload"), "--trailer", "x-check: sum", "--continuation",
                "-c", "0", "-c", "4096", f"https://{HOST}:{proxy.address[1]}/",
            )  # fmt: skip
            await proxy.stop()
            (record,) = proxy.records()
        received = dict(re.findall(r"recv \(stream_id=\d+\) ([\w:-]+): (.*)", text))
        assert received[":status"] == "200"
        assert len(received["x-large"]) == 30_000 and received["x-got"] == "12000"
        assert (received["x-size"], received["x-trailer"]) == (str(UPLOAD), "sum")
        assert received.get("x-seen") == ("yes" if "listener" in policy else None)
        assert (record.status, record.error) == (200, None)

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))


@pytest.mark.skipif(CURL is None, reason="no curl here")
@POLICIES
def test_curl_uploads_and_gets_a_large_head(tmp_path: Path, policy: str) -> None:
    (tmp_path / "upload").write_bytes(bytes(UPLOAD))

    async def scenario() -> None:
        async with staged(tmp_path, policy) as proxy:
            text = await run(
                str(CURL), "-sSi", "-4", "--http2", "--cacert", str(proxy.ready.root_pem), "-H",
                f"x-sent: {'s' * 12_000}", "-H", "x-want: 60000", "-T", str(tmp_path / "upload"),
                f"https://{HOST}:{proxy.address[1]}/?size=5",
            )  # fmt: skip
            await proxy.stop()
            (record,) = proxy.records()
        head, _, rest = text.partition("\r\n\r\n")
        assert head.startswith("HTTP/2 200") and rest.startswith("aaaaa")
        assert f"x-large: {'l' * 60_000}\r\n" in head and "x-got: 12000" in head
        assert f"x-size: {UPLOAD}" in rest, "the trailers"
        assert (record.method, record.error) == ("PUT", None)

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))


@POLICIES
@pytest.mark.parametrize(("window", "size"), [(1, 700), (65535, 1_000_000), (2**31 - 1, 1_000_000)])
def test_node_reads_through_any_window(tmp_path: Path, policy: str, window: int, size: int) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, policy) as proxy:
            text = await run(
                str(NODE), "--input-type=module", "-e", CLIENT, str(proxy.address[1]), str(proxy.ready.root_pem),
                str(window), str(size),
            )  # fmt: skip
        assert json.loads(text) == [[size, "0"]] * 3

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))
