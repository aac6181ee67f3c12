"""The name server inside the lab, for `--resolve`.

While any name is given, everything that programs send to port 53, of whatever server, comes here.  The given names are
answered; every other question goes to the machine's own resolvers and comes back as they answered it.  No packet leaves
the machine for a name that was given.

Limit: a resolver that sends from an unconnected socket and checks who answers (musl's) sees 127.0.0.1 and another port
than it asked, and drops the answer.  glibc, c-ares, Go and Chromium connect their sockets.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from pointsman.lab.network import DNS_PORT, Network
from pointsman.lab.sockaddr import Endpoint, unmapped
from pointsman.wire.abi import Address

TTL = 5  # seconds
FORWARD_TIMEOUT = 3.0  # seconds, for each resolver
IDLE_TIMEOUT = 30.0  # seconds, for a TCP client
MAX_QUESTIONS = 256  # at once
MAX_RESOLVERS = 3  # MAXNS of resolv.h
MAX_MESSAGE = 65535
_LENGTH = struct.Struct("!H")
_LOCAL_V4 = IPv4Address("127.0.0.1")


def system_resolvers(path: Path = Path("/etc/resolv.conf")) -> list[Address]:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []  # no file: nobody to ask, and forwarded questions get SERVFAIL
    found: list[Address] = []
    for words in map(str.split, lines):
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(ip_address(words[1].partition("%")[0]))
            except ValueError:
                continue  # resolv.conf(5): what cannot be understood is passed over
    return found[:MAX_RESOLVERS]


def answer(question: bytes, names: Mapping[str, Sequence[Address]]) -> bytes | None:
    """The answer for a given name; None if it is not one of ours.  Raises dns.exception.DNSException for junk."""
    query = dns.message.from_wire(question)
    if query.flags & dns.flags.QR or len(query.question) != 1:
        raise dns.exception.FormError
    asked = query.question[0]
    addresses = names.get(asked.name.to_text(omit_final_dot=True).lower())
    if addresses is None:
        return None
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA | dns.flags.AA
    versions = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
    texts = [str(address) for address in addresses if address.version == versions.get(asked.rdtype)]
    if texts and asked.rdclass == dns.rdataclass.IN:
        response.answer.append(dns.rrset.from_text(asked.name, TTL, asked.rdclass, asked.rdtype, *texts))
    return response.to_wire()  # other types: NOERROR without an answer, so that the client goes on with A


def failure(question: bytes, code: dns.rcode.Rcode) -> bytes | None:
    """None if even the header makes no sense: then silence is right (RFC 1035 says nothing; servers drop it)."""
    if len(question) < 12 or question[2] & 0x80:
        return None
    flags = 0x8000 | int.from_bytes(question[2:4], "big") & 0x7900 | dns.flags.RA | code
    return question[:2] + flags.to_bytes(2, "big") + bytes(8)


@dataclass(frozen=True, slots=True)
class LabRoutes:
    """The lab network with its name server: what `connects` and `datagrams` ask."""

    network: Network
    server_v4: Endpoint | None = None
    server_v6: Endpoint | None = None

    @property
    def answers_names(self) -> bool:
        return self.server_v4 is not None

    def lead(self, destination: Endpoint) -> Endpoint:
        led = self.network.lead(destination)
        if led is not destination or destination[1] != DNS_PORT or self.server_v4 is None:
            return led
        address = unmapped(destination)[0]
        # Without IPv6 loopback an IPv6 socket still reaches the server, as ::ffff:127.0.0.1.
        return self.server_v6 or self.server_v4 if isinstance(address, IPv6Address) else self.server_v4


class DnsServer:
    """UDP and TCP on loopback, on ports of its own."""

    def __init__(self, names: Mapping[str, Sequence[Address]], resolvers: Sequence[Address] | None = None) -> None:
        self._names = names
        self._resolvers = system_resolvers() if resolvers is None else list(resolvers)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: list[asyncio.DatagramTransport | asyncio.Server] = []

    async def start(self, network: Network) -> LabRoutes:
        v4 = await self._listen(socket.AF_INET, _LOCAL_V4)
        try:
            v6: Endpoint | None = await self._listen(socket.AF_INET6, IPv6Address("::1"))
        except OSError:
            v6 = None  # a machine without IPv6
        return LabRoutes(network, v4, v6)

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for item in self._closing:
            item.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, family: socket.AddressFamily, host: Address) -> Endpoint:
        loop = asyncio.get_running_loop()
        for attempt in range(8):
            server = await asyncio.start_server(self._serve, str(host), 0, family=family, limit=MAX_MESSAGE + 2)
            port = server.sockets[0].getsockname()[1]
            try:
                udp, _ = await loop.create_datagram_endpoint(lambda: _Incoming(self), (str(host), port), family=family)
            except OSError:
                server.close()
                if attempt == 7:
                    raise
                continue  # the TCP port's UDP twin is taken: another pair
            self._closing += [server, udp]
            return (host, port)
        raise AssertionError("unreachable")

    async def ask(self, question: bytes, *, stream: bool) -> bytes | None:
        """The answer to a question, from the given names or from the real resolvers."""
        try:
            answered = answer(question, self._names)
        except dns.exception.DNSException:
            return failure(question, dns.rcode.FORMERR)
        if answered is not None:
            return answered
        forward = _forward_tcp if stream else _forward_udp
        for resolver in self._resolvers:
            try:
                async with asyncio.timeout(FORWARD_TIMEOUT):
                    return await forward(question, str(resolver))
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue  # the next one; if none is left, SERVFAIL tells the program
        return failure(question, dns.rcode.SERVFAIL)

    def receive(self, question: bytes, transport: asyncio.DatagramTransport, peer: tuple[str, int]) -> None:
        if len(self._tasks) >= MAX_QUESTIONS:
            return  # a resolver asks again
        task = asyncio.get_running_loop().create_task(self._answer_datagram(question, transport, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_datagram(
        self, question: bytes, transport: asyncio.DatagramTransport, peer: tuple[str, int]
    ) -> None:
        reply = await self.ask(question, stream=False)
        if reply is not None and not transport.is_closing():
            transport.sendto(reply, peer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while len(self._tasks) < MAX_QUESTIONS:
                async with asyncio.timeout(IDLE_TIMEOUT):
                    size = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))[0]
                    question = await reader.readexactly(size)
                reply = await self.ask(question, stream=True)
                if reply is None:
                    return
                async with asyncio.timeout(IDLE_TIMEOUT):
                    writer.write(_LENGTH.pack(len(reply)) + reply)
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return  # the client is done
        finally:
            self._tasks.discard(task)
            writer.close()


class _Incoming(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transport does not say that it is one before Python 3.12.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.receive(data, self._transport, addr)


async def _forward_udp(question: bytes, resolver: str) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((resolver, DNS_PORT))
        await loop.sock_sendall(sock, question)
        while True:
            reply = await loop.sock_recv(sock, MAX_MESSAGE)
            if reply[:2] == question[:2]:
                return reply


async def _forward_tcp(question: bytes, resolver: str) -> bytes:
    reader, writer = await asyncio.open_connection(resolver, DNS_PORT)
    try:
        writer.write(_LENGTH.pack(len(question)) + question)
        return await reader.readexactly(_LENGTH.unpack(await reader.readexactly(_LENGTH.size))[0])
    finally:
        writer.close()
