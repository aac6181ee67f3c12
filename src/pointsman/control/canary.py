"""The canary of a hand-over: does a connection of somebody else's come through WFP, the driver and all of this proxy?

A child process dials a reserved address (RFC 5737, RFC 3849) over each family.  Its own filter redirects it here, the
server leads it through the engine as `inspect` would, and the engine dials an origin of ours on loopback: TLS is ended,
verified, minted and spoken on both sides, and no packet leaves the machine.  The child is needed because the driver
lets everything that the proxy itself dials go direct.

It decides what the canary proves and what its failure is called.  Who acts on it is `control.takeover`.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import msgspec

from pointsman.authority.leaf_cache import LeafCache
from pointsman.control.canary_client import READY, Order, Outcome
from pointsman.engine.settings import Settings as EngineSettings
from pointsman.policy.load import parse_policy
from pointsman.policy.rules import Protocol
from pointsman.server.connection_task import Services
from pointsman.server.server import Detour
from pointsman.server.upstream_tls import UpstreamContexts
from pointsman.wire.abi import RULE_DEFAULT, Address, Endpoints, Verdict, filter_context
from pointsman.wire.filters import Condition, Field, Filter, Layer

NAME = "canary.pointsman.invalid"
V4 = (IPv4Address("192.0.2.113"), 443)
V6 = (IPv6Address("2001:db8:ffff::113"), 443)
TIMEOUT = 5.0  # seconds for each connection
CHILD_TIMEOUT = TIMEOUT + 5.0  # seconds for the child to start, and to say what became of them
HEAD_LIMIT = 8 * 1024  # bytes of the canary's request
WEIGHT = 1 << 48  # above every filter of a policy
_POLICY = b'default = "inspect"'


class CanaryError(Exception):
    """It did not come through; the text says how far it came."""


def canary_filters() -> list[Filter]:
    """They redirect the canary; without a registration number, which `control.registration` fills in."""
    context = filter_context(0, Verdict.REDIRECT, RULE_DEFAULT)
    filters = []
    for (address, port), layer in ((V4, Layer.CONNECT_REDIRECT_V4), (V6, Layer.CONNECT_REDIRECT_V6)):
        network = IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)
        conditions = (
            Condition(Field.PROTOCOL, Protocol.TCP.value),
            Condition(Field.REMOTE_ADDRESS, network),
            Condition(Field.REMOTE_PORT, port),
        )
        filters.append(Filter("canary: redirect", layer, WEIGHT, context, conditions))
    return filters


class Canary:
    """The child waits for its order, the origin for the child's request.  `open_canary` makes one."""

    def __init__(
        self, child: asyncio.subprocess.Process, origin: asyncio.Server, root: Path, answer: str, detour: Detour
    ) -> None:
        self._child = child
        self._origin = origin
        self._root = root
        self._answer = answer
        self.detour = detour

    async def close(self) -> None:
        """Ends child and origin.  Closing twice is harmless."""
        self._origin.close()
        with suppress(ProcessLookupError):
            self._child.kill()
        await self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        # asyncio leaves the read end of its output to the garbage collector, which warns.
        transport = getattr(self._child, "_transport", None)
        if transport is not None:
            transport.close()

    async def wait_ready(self) -> None:
        """Raises OSError."""
        assert self._child.stdout is not None, "it was started with pipes"
        async with asyncio.timeout(CHILD_TIMEOUT):
            if await self._child.stdout.readline() != READY:
                raise ChildProcessError("the canary's process ended before it was ready")

    async def fly(self, endpoints: Endpoints) -> dict[str, str]:
        """Once.  Returns what became of it by address; raises CanaryError."""
        destinations: list[tuple[Address, int]] = [V4] if endpoints.v4 else []
        destinations += [V6] if endpoints.v6 else []
        order = Order([(str(address), port) for address, port in destinations], NAME, str(self._root), TIMEOUT)
        assert self._child.stdin is not None and self._child.stdout is not None, "it was started with pipes"
        try:
            async with asyncio.timeout(CHILD_TIMEOUT):
                self._child.stdin.write(msgspec.json.encode(order) + b"\n")
                await self._child.stdin.drain()
                outcomes = msgspec.json.decode(await self._child.stdout.readline(), type=list[Outcome])
        except TimeoutError:
            raise CanaryError(f"the canary said nothing for {CHILD_TIMEOUT:g} s") from None
        except (OSError, ValueError) as error:
            raise CanaryError(f"the canary's process failed: {error}") from error
        return self._judge(outcomes)

    def _judge(self, outcomes: list[Outcome]) -> dict[str, str]:
        told: dict[str, str] = {}
        came = 0
        for outcome in outcomes:
            if outcome.body == self._answer:
                told[outcome.address] = "came through"
                came += 1
            elif outcome.body is not None:
                raise CanaryError(f"{outcome.address}: somebody else answered")
            elif outcome.unreachable:  # then no program of this machine can dial this family either
                told[outcome.address] = f"not dialled: {outcome.error}"
            else:
                raise CanaryError(f"{outcome.address}: {outcome.error}")
        if not came:
            raise CanaryError("; ".join(f"{address}: {text}" for address, text in told.items()) or "no endpoint")
        return told


async def open_canary(leaves: LeafCache, root: Path, services: Services) -> Canary:
    """Everything that takes time is done before we register, so that the probation is short.

    Raises OSError if its process cannot be started, or does not become ready.
    """
    answer = secrets.token_hex(16)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(TIMEOUT):
                await reader.readuntil(b"\r\n\r\n")
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n"
                writer.write((head + answer).encode())
                await writer.drain()
        writer.close()

    context = await asyncio.get_running_loop().run_in_executor(services.threads, leaves.get, (NAME,), None)
    origin = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, limit=HEAD_LIMIT)
    port = origin.sockets[0].getsockname()[1]
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "pointsman.control.canary_client",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except BaseException:
        origin.close()
        raise
    canary = Canary(child, origin, root, answer, _detour(port, root, services))
    try:
        await canary.wait_ready()
    except BaseException:
        await canary.close()
        raise
    return canary


def _detour(port: int, root: Path, services: Services) -> Detour:
    settings = EngineSettings(parse_policy(_POLICY, "canary"), UpstreamContexts((root,)))
    silent = replace(services, report=lambda _: None, learn=lambda *_: None)
    return Detour(frozenset((V4, V6)), (IPv4Address("127.0.0.1"), port), settings, silent)
