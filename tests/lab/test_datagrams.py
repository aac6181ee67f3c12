"""UDP: connected and addressed sends, asked about once, led where the lab network says, or blocked."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pointsman.lab.machine import PlacementName

from .world import BLOCKED, ORIGIN, open_lab

pytestmark = pytest.mark.asyncio

SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
try:
    {}
except OSError as error:
    print(error.errno)
else:
    print(s.recvfrom(100)[0].decode())
"""
WAYS = {
    "sendto": "s.sendto(b'hello', (sys.argv[1], 9))",
    "sendmsg": "s.sendmsg([b'hel', b'lo'], [], 0, (sys.argv[1], 9))",
    "connect": "s.connect((sys.argv[1], 9)); s.send(b'hello')",
}
SENDMMSG = """
import ctypes, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
kept, messages = [], b""
for text in (b"one", b"two"):
    name = ctypes.create_string_buffer(struct.pack("!H2s", 0, b"")[:0] + struct.pack("=H", 2) + struct.pack("!H", 9)
                                       + socket.inet_aton(sys.argv[1]) + bytes(8), 16)
    data = ctypes.create_string_buffer(text, len(text))
    part = ctypes.create_string_buffer(struct.pack("@QQ", ctypes.addressof(data), len(text)), 16)
    kept += [name, data, part]
    messages += struct.pack("@QI4xQQQQi4xI4x", ctypes.addressof(name), 16, ctypes.addressof(part), 1, 0, 0, 0, 0)
vector, sent, at = ctypes.create_string_buffer(messages, len(messages)), [], 0
while at < 2:
    count = libc.sendmmsg(s.fileno(), ctypes.byref(vector, at * 64), 2 - at, 0)
    if count < 1:
        sys.exit(ctypes.get_errno())
    at += count
print([struct.unpack_from("@I", vector.raw, n * 64 + 56)[0] for n in range(2)], s.recvfrom(9)[0], s.recvfrom(9)[0])
"""


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        send = getattr(self.transport, "sendto")  # noqa: B009
        send(b"echo " + data, addr)


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, ("127.0.0.1", 0))
    yield transport.get_extra_info("sockname")[1]
    transport.close()


@pytest.mark.parametrize("way", WAYS)
async def test_a_datagram_goes_where_the_lab_network_leads(placement: PlacementName, way: str) -> None:
    async with echo() as port, open_lab(placement, [f"{ORIGIN}:9=127.0.0.1:{port}"]) as lab:
        done = await lab.python(SEND.format(WAYS[way]), ORIGIN)

        assert done.out == "echo hello\n", done.err


@pytest.mark.parametrize("way", WAYS)
async def test_a_datagram_to_a_blocked_destination_is_refused(placement: PlacementName, way: str) -> None:
    async with open_lab(placement) as lab:
        await lab.proxy(["BLOCK", BLOCKED, 9])
        done = await lab.python(SEND.format(WAYS[way]), BLOCKED)

        assert done.out == f"{errno.EACCES}\n"


async def test_several_datagrams_in_one_call_all_arrive(placement: PlacementName) -> None:
    async with echo() as port, open_lab(placement, [f"{ORIGIN}:9=127.0.0.1:{port}"]) as lab:
        done = await lab.python(SENDMMSG, ORIGIN)

        assert done.out == "[3, 3] b'echo one' b'echo two'\n", (done.status, done.err)


async def test_datagrams_to_one_destination_are_asked_about_once(placement: PlacementName) -> None:
    script = SEND.format("[s.sendto(b'hello', (sys.argv[1], 9)) for _ in range(5)]")
    async with echo() as port, open_lab(placement, [f"{ORIGIN}:9=127.0.0.1:{port}"]) as lab:
        await lab.proxy(["PASS", ORIGIN, 9])
        done = await lab.python(script, ORIGIN)

        assert done.out == "echo hello\n", done.err
        assert [flow.protocol for flow in lab.flows] == [17]


async def test_an_unmapped_datagram_is_left_to_the_kernel(placement: PlacementName) -> None:
    async with echo() as port, open_lab(placement) as lab:
        done = await lab.python(SEND.format("s.sendto(b'hello', ('127.0.0.1', int(sys.argv[1])))"), str(port))

        assert done.out == "echo hello\n", done.err
