"""HTTP/2 on real sockets: curl, through the whole proxy, to an origin on python-hyper's h2."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from pointsman.testing import authority
from pointsman.testing.proxy import PATIENCE, running_proxy

h2_connection = pytest.importorskip("h2.connection", reason="the origin of these tests, in the dev group")
from h2.config import H2Configuration  # noqa: E402 - only once it is known to be there
from h2.events import RequestReceived  # noqa: E402

HOST = "www.example.com"
BODY = bytes(range(256)) * 4 * 300
CURL = shutil.which("curl")


async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request with BODY, as flow control lets it."""
    connection = h2_connection.H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    left: dict[int, bytes] = {}
    writer.write(connection.data_to_send())
    while data := await reader.read(65536):
        for event in connection.receive_data(data):
            if isinstance(event, RequestReceived):
                connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "x/y")])
                left[event.stream_id] = BODY
        for stream in list(left):
            push(connection, stream, left)
        writer.write(connection.data_to_send())
    writer.close()


def push(connection: Any, stream: int, left: dict[int, bytes]) -> None:
    while left.get(stream):
        size = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size)
        if not size:
            return
        part, left[stream] = left[stream][:size], left[stream][size:]
        connection.send_data(stream, part, end_stream=not left[stream])
    left.pop(stream, None)


@pytest.mark.skipif(CURL is None, reason="no curl here")
@pytest.mark.parametrize("policy", ['default = "inspect"', 'default = "intercept"'])
def test_curl_gets_its_pages_by_http2_and_each_is_a_record(tmp_path: Path, policy: str) -> None:
    async def scenario() -> None:
        context = authority.server_context(HOST, alpn="h2")
        server = await asyncio.start_server(origin, "127.0.0.1", 0, ssl=context)
        async with server, running_proxy(tmp_path, policy) as proxy:
            proxy.redirect_to(server.sockets[0].getsockname()[1])
            address, port = proxy.address
            urls: list[str] = []
            for name in "abc":
                urls += [f"https://{HOST}:{port}/{name}", "-o", str(tmp_path / name)]
            process = await asyncio.create_subprocess_exec(
                str(CURL), "-sS", "--http2", "--parallel", "--cacert", str(proxy.ready.root_pem),
                "--resolve", f"{HOST}:{port}:{address}", "-w", "%{http_version} ", *urls,
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
            assert out.split() == [b"2"] * 3
            for name in "abc":
                assert (tmp_path / name).read_bytes() == BODY
            await proxy.stop()
            records = proxy.records()
            assert sorted((one.protocol, one.method, one.path, one.status, one.host) for one in records) == [
                ("h2", "GET", f"/{name}", 200, HOST) for name in "abc"
            ]
            assert all(one.bytes_down > len(BODY) for one in records)

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))


@pytest.mark.skipif(CURL is None, reason="no curl here")
@pytest.mark.parametrize("policy", ['default = "inspect"', 'default = "intercept"'])
def test_curl_that_knows_beforehand_gets_its_page_in_clear(tmp_path: Path, policy: str) -> None:
    async def scenario() -> None:
        server = await asyncio.start_server(origin, "127.0.0.1", 0)
        async with server, running_proxy(tmp_path, policy) as proxy:
            proxy.redirect_to(server.sockets[0].getsockname()[1])
            address, port = proxy.address
            process = await asyncio.create_subprocess_exec(
                str(CURL), "-sS", "--http2-prior-knowledge", "--resolve", f"{HOST}:{port}:{address}",
                "-w", "%{http_version}", f"http://{HOST}:{port}/a", "-o", str(tmp_path / "a"),
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
            assert (out, (tmp_path / "a").read_bytes()) == (b"2", BODY)
            await proxy.stop()
            (record,) = proxy.records()
            assert (record.protocol, record.method, record.path, record.status) == ("h2c", "GET", "/a", 200)

    asyncio.run(asyncio.wait_for(scenario(), 2 * PATIENCE))
