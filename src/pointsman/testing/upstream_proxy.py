"""A small proxy on loopback for tests of upstreams: SOCKS 5 or CONNECT, with or without TLS and users, or a liar.

Real proxies are tested too, where they are installed; this one answers as the test wants (`says`), tells what it was
asked, and sends names wherever the test has put them.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address


@dataclass(slots=True)
class UpstreamProxy:
    kind: str
    """`http` or `socks5`."""
    user: tuple[str, str] | None = None
    says: bytes | None = None
    """In place of an answer to the request for a tunnel; then it closes.  Empty: it never answers."""
    names: dict[str, int] = field(default_factory=dict)
    """Ports on loopback by host name."""
    tls: bool = False
    asked: list[tuple[str, int]] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def url(self, user: str = "") -> str:
        scheme = {"http": "https", "socks5": "socks5+tls"}[self.kind] if self.tls else self.kind
        return f"{scheme}://{user}127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            target = await (self._socks(reader, writer) if self.kind == "socks5" else self._http(reader, writer))
            if target is not None:
                await self._splice(reader, writer, target)
        except (OSError, asyncio.IncompleteReadError):
            pass  # a client that went away
        finally:
            writer.close()

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = 2 if self.user else 0
        if wanted not in methods:
            writer.write(b"\x05\xff")
            return None
        writer.write(bytes([5, wanted]))
        if self.user:
            _, length = await reader.readexactly(2)
            name = (await reader.readexactly(length)).decode()
            secret = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
            writer.write(b"\x01\x00" if (name, secret) == self.user else b"\x01\x01")
            if (name, secret) != self.user:
                return None
        _, _, _, kind = await reader.readexactly(4)
        size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        data = await reader.readexactly(size)
        host = data.decode() if kind == 3 else str(ip_address(data))
        port = int.from_bytes(await reader.readexactly(2), "big")
        return await self._answered(writer, host, port, b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int] | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        host, _, port = head.split()[1].rpartition(":")
        if self.user:
            token = b64encode(":".join(self.user).encode()).decode()
            if f"Proxy-Authorization: Basic {token}" not in head:
                writer.write(b'HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
                return None
        return await self._answered(writer, host.strip("[]"), int(port), b"HTTP/1.1 200 OK\r\n\r\n")

    async def _answered(self, writer: asyncio.StreamWriter, host: str, port: int, yes: bytes) -> tuple[str, int] | None:
        self.asked.append((host, port))
        if self.says is None:
            writer.write(yes)
            return ("127.0.0.1", self.names[host]) if host in self.names else (host, port)
        writer.write(self.says)
        if not self.says:
            await asyncio.get_running_loop().create_future()  # for ever, or until the server is closed
        return None

    async def _splice(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection(*target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, far_writer))
                group.create_task(_copy(far_reader, writer))
        finally:
            far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()  # TLS of asyncio knows no half-close


@asynccontextmanager
async def upstream_proxy(
    kind: str,
    *,
    tls: ssl.SSLContext | None = None,
    user: tuple[str, str] | None = None,
    says: bytes | None = None,
    names: dict[str, int] | None = None,
) -> AsyncIterator[UpstreamProxy]:
    proxy = UpstreamProxy(kind, user, says, names or {}, tls is not None)
    tasks: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
