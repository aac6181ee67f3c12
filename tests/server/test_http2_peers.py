"""HTTP/2 peers that we did not write, through the whole proxy: Node on both sides, nginx as the origin."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, RunningProxy, running_proxy

HOST = "www.example.com"
NODE, CURL = shutil.which("node"), shutil.which("curl")
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
POLICIES = ["inspect", "intercept"]
SERVER = """
  import http2 from "node:http2"; import fs from "node:fs";
  const pem = fs.readFileSync(process.argv[1]);
  const server = http2.createSecureServer({cert: pem, key: pem});
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    if (headers[":path"] === "/reset") { stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM); return; }
    let size = 0;
    stream.on("data", part => { size += part.length; });
    stream.on("end", () => {
      stream.respond({":status": 200, "x-method": headers[":method"]}, {waitForTrailers: true});
      stream.on("wantTrailers", () => stream.sendTrailers({"x-size": String(size)}));
      stream.end(Buffer.alloc(headers[":path"] === "/large" ? 3000000 : 10, 97));
    });
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""
CLIENT = """
  import http2 from "node:http2"; import fs from "node:fs";
  const [port, ca] = process.argv.slice(1);
  const session = http2.connect(`https://www.example.com:${port}`, {ca: fs.readFileSync(ca),
    lookup: (_, options, done) =>
      options.all ? done(null, [{address: "127.0.0.1", family: 4}]) : done(null, "127.0.0.1", 4)});
  const ask = (path, body) => new Promise(done => {
    const stream = session.request({":path": path, ":method": body ? "POST" : "GET"});
    let size = 0, status = 0, trailers = {};
    stream.on("response", h => { status = h[":status"]; });
    stream.on("trailers", h => { trailers = h; });
    stream.on("data", part => { size += part.length; });
    stream.on("error", error => done({path, error: error.code, code: stream.rstCode}));
    stream.on("end", () => stream.rstCode || done({path, status, size, told: trailers["x-size"] ?? null}));
    stream.end(body);
  });
  const all = [ask("/a"), ask("/large"), ask("/up", Buffer.alloc(2000000, 98)), ask("/reset")];
  for (let turn = 0; turn < 20; turn++) all.push(ask("/" + turn));
  console.log(JSON.stringify(await Promise.all(all)));
  session.close();
"""


def leaf(tmp_path: Path) -> Path:
    """Certificate and key of the origin in one file."""
    path = tmp_path / "leaf.pem"
    authority.write_leaf(path, HOST)
    return path


async def node_client(proxy: RunningProxy) -> list[dict[str, object]]:
    process = await asyncio.create_subprocess_exec(
        str(NODE), "--input-type=module", "-e", CLIENT, str(proxy.address[1]), str(proxy.ready.root_pem),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    found = json.loads(out)
    assert isinstance(found, list)
    return found


@pytest.mark.skipif(NODE is None, reason="no Node here")
@pytest.mark.parametrize("policy", POLICIES)
def test_node_speaks_http2_with_node(tmp_path: Path, policy: str) -> None:
    async def scenario() -> None:
        origin = await asyncio.create_subprocess_exec(
            str(NODE), "--input-type=module", "-e", SERVER, str(leaf(tmp_path)), stdout=asyncio.subprocess.PIPE
        )
        assert origin.stdout is not None
        port = int(await asyncio.wait_for(origin.stdout.readline(), PATIENCE))
        async with running_proxy(tmp_path, f'default = "{policy}"') as proxy:
            proxy.redirect_to(port)
            found = await node_client(proxy)
            await proxy.stop()
            records = proxy.records()
        origin.kill()
        await origin.wait()
        pages = {one["path"]: one for one in found}
        assert pages["/large"]["size"] == 3_000_000 and pages["/up"]["told"] == "2000000"
        assert pages["/reset"]["code"] == 11, "ENHANCE_YOUR_CALM, as the origin said it"
        assert all(one["status"] == 200 for path, one in pages.items() if path != "/reset")
        assert len(records) == len(found) == 24
        assert [one.path for one in records if one.error is not None] == ["/reset"]

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))


@pytest.mark.skipif(NGINX is None, reason="no nginx here")
@pytest.mark.skipif(CURL is None, reason="no curl here")
@pytest.mark.parametrize("policy", ["relay", *POLICIES])
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_nginx_serves_its_files_to_curl(tmp_path: Path, policy: str, version: str) -> None:
    body = bytes(range(256)) * 8192
    www = tmp_path / "www"
    www.mkdir()
    (www / "file").write_bytes(body)
    for folder in ("tmp", "logs"):
        (tmp_path / folder).mkdir()

    async def scenario() -> None:
        port, nginx = await started_nginx(tmp_path)
        async with running_proxy(tmp_path, f'default = "{policy}"') as proxy:
            proxy.redirect_to(port)
            root = proxy.ready.root_pem
            if policy == "relay":
                root = tmp_path / "origin-root.pem"
            urls: list[str] = []
            for turn in range(5):
                urls += [f"https://{HOST}:{proxy.address[1]}/file", "-o", str(tmp_path / f"got{turn}")]
            process = await asyncio.create_subprocess_exec(
                str(CURL), "-sS", version, "--cacert", str(root), "-w", "%{http_code}/%{http_version} ",
                "--resolve", f"{HOST}:{proxy.address[1]}:127.0.0.1", *urls, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
            await proxy.stop()
            records = proxy.records()
        nginx.terminate()
        await nginx.wait()
        assert out.split() == [b"200/2" if version == "--http2" else b"200/1.1"] * 5
        assert all((tmp_path / f"got{turn}").read_bytes() == body for turn in range(5))
        assert len(records) == (1 if policy == "relay" else 5)
        assert all(one.error is None for one in records)

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))


async def started_nginx(folder: Path) -> tuple[int, asyncio.subprocess.Process]:
    """Without a master it serves as the user of the test."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    places = "".join(f"{kind}_temp_path {folder}/tmp;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    pem = leaf(folder)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/logs/error; events {{}}"
        f"http {{ access_log off; {places} server {{ listen 127.0.0.1:{port} ssl http2;"
        f"ssl_certificate {pem}; ssl_certificate_key {pem}; location / {{ root {folder}/www; }} }} }}"
    )
    nginx = await asyncio.create_subprocess_exec(
        str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), stderr=asyncio.subprocess.DEVNULL
    )
    while True:
        assert nginx.returncode is None, (folder / "logs/error").read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return port, nginx
