"""The load of the soak, one program inside the lab: everything that clients do, well-behaved and not, all the time.

    python bench/soak/load.py SECONDS [KIND ...]      prints what it did as JSON

Kinds: kept connections, new ones, ones of TLS 1.2 without tickets, uploads, chunks, WebSockets, bulk, HTTP/2 by curl,
clients that vanish in the middle of a handshake, a request or an answer, and ones that say nothing.  Named by their
function here, and a client for each time that one is.  If none is named, all of them but `together`, whose 400
connections at once would hide what else grows.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import aiohttp

HOST, HOST2 = "soak.example", "soak2.example"
URL = f"https://{HOST}"
PAUSE = 0.02  # seconds between two steps of one client: the load is to last, not to saturate
TIMEOUT = aiohttp.ClientTimeout(total=60)
done: Counter[str] = Counter()
failed: Counter[str] = Counter()


async def kept(session: aiohttp.ClientSession) -> None:
    for _ in range(50):
        size = random.choice((0, 100, 5_000, 60_000))
        async with session.get(f"{URL}/bytes/{size}") as response:
            assert len(await response.read()) == size
        done["kept"] += 1
        await asyncio.sleep(PAUSE)


async def new(session: aiohttp.ClientSession) -> None:
    async with session.get(f"{URL}/bytes/1000", headers={"Connection": "close"}) as response:
        assert len(await response.read()) == 1000


def _old() -> ssl.SSLContext:
    """As Java 8: TLS 1.2, and its sessions are kept by the server."""
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    return context


OLD = _old()


async def old(session: aiohttp.ClientSession) -> None:
    async with session.get(f"{URL}/bytes/1000", headers={"Connection": "close"}, ssl=OLD) as response:
        assert len(await response.read()) == 1000


async def upload(session: aiohttp.ClientSession) -> None:
    async with session.post(f"{URL}/length", data=bytes(300_000)) as response:
        assert await response.text() == "300000"


async def chunked(session: aiohttp.ClientSession) -> None:
    async with session.get(f"{URL}/chunks") as response:
        assert (await response.read()).count(b"piece") == 20


async def websocket(session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(f"{URL}/ws") as echo:
        for size in (1, 1000, 70_000):
            await echo.send_bytes(bytes(size))
            assert len((await echo.receive(30)).data) == size


async def bulk(session: aiohttp.ClientSession) -> None:
    async with session.get(f"{URL}/bytes/{20 << 20}") as response:
        total = 0
        async for piece in response.content.iter_any():
            total += len(piece)
        assert total == 20 << 20
    await asyncio.sleep(5)


async def http2(_: aiohttp.ClientSession) -> None:
    curl = shutil.which("curl")
    assert curl is not None
    urls: list[str] = []
    for number in range(20):
        urls += [f"https://{HOST2}/{number}", "-o", "/dev/null"]
    process = await asyncio.create_subprocess_exec(
        curl, "-s", "--http2", "--parallel", "-w", "%{http_code},", *urls, stdout=asyncio.subprocess.PIPE
    )
    out = (await process.communicate())[0]
    assert out.count(b"200,") == 20, out
    await asyncio.sleep(1)


async def vanishing(_: aiohttp.ClientSession) -> None:
    """RST in the middle of whatever is going on."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context()
    with socket.socket() as raw:
        raw.setblocking(False)
        await loop.sock_connect(raw, await _resolved(HOST))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        how = random.randrange(4)
        if how == 0:
            await loop.sock_sendall(raw, b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        elif how == 1:
            await loop.sock_sendall(raw, b"GET /by/halves HTTP/1.1\r\nHo")
        else:
            reader, writer = await asyncio.open_connection(sock=raw.dup(), ssl=context, server_hostname=HOST)
            writer.write(
                b"GET /bytes/10000000 HTTP/1.1\r\nHost: soak.example\r\n\r\n"
                if how == 2
                else b"POST /length HTTP/1.1\r\n"
            )
            await writer.drain()
            if how == 2:
                await reader.read(1000)
            writer.transport.abort()
    await asyncio.sleep(PAUSE)


async def silent(_: aiohttp.ClientSession) -> None:
    """Connects, says nothing for a while, goes."""
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setblocking(False)
        await loop.sock_connect(raw, await _resolved(HOST))
        await asyncio.sleep(random.uniform(0, 3))


async def together(_session: aiohttp.ClientSession) -> None:
    """As many as 400 at once, all gone again."""
    async with aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0)) as session:
        gate = asyncio.Barrier(400)

        async def one() -> None:
            async with session.get(f"{URL}/bytes/100000") as response:
                await gate.wait()
                await response.read()

        async with asyncio.TaskGroup() as group:
            for _ in range(400):
                group.create_task(one())
    await asyncio.sleep(1)


async def _resolved(host: str) -> tuple[str, int]:
    found = await asyncio.get_running_loop().getaddrinfo(host, 443, family=socket.AF_INET, type=socket.SOCK_STREAM)
    address: tuple[str, int] = found[0][4][:2]  # type: ignore[assignment]
    return address


async def repeat(step: Callable[[aiohttp.ClientSession], Awaitable[None]], until: float) -> None:
    while time.monotonic() < until:
        try:
            async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
                await step(session)
            done[step.__name__] += 1
        except (OSError, aiohttp.ClientError, TimeoutError, AssertionError) as error:
            failed[f"{step.__name__}: {type(error).__name__} {error}"[:200]] += 1
        await asyncio.sleep(PAUSE)


async def main() -> None:
    until = time.monotonic() + float(sys.argv[1])
    steps = [kept, kept, kept, new, new, old, upload, chunked, websocket, bulk, vanishing, vanishing, silent, silent]
    steps += [http2] if shutil.which("curl") else []
    if sys.argv[2:]:
        known = {step.__name__: step for step in (*steps, together)}
        steps = [known[kind] for kind in sys.argv[2:]]
    async with asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(repeat(step, until))
    print(json.dumps({"done": done, "failed": failed}))


if __name__ == "__main__":
    asyncio.run(main())
