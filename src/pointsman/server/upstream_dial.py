"""Connect through an upstream: its proxies in the order of their health, each within its share of the time.

What is shared by all connections is here: the health of proxies, addresses of their names, the TLS context for them.
It speaks no protocol (`engine.upstream` does) and knows no policy beyond what the `Upstream` says: if no proxy of
it works, the connection fails, or goes direct if that is what it says.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from pointsman.engine.upstream import HopError, ProxyTls, TlsLayers, Tunnel
from pointsman.engine.upstream_health import UpstreamHealth
from pointsman.policy.upstreams import Chain, Credentials, Hop, SecretReference, Upstream, words_of
from pointsman.server.dial import describe, dial, prepared
from pointsman.system.interface import RedirectSource
from pointsman.wire.abi import Address
from pointsman.wire.proxy_error import ProxyError

READ_SIZE = 16 * 1024  # bytes
MAX_ADDRESSES = 4  # of one name, that are tried
ADDRESS_PATIENCE = 3.0  # seconds for one that others follow; the last has what is left for the attempt
REMEMBER_ADDRESSES = 30.0  # seconds
MAX_NAMES = 64
PATIENCE = 3.0  # seconds; whoever gives up a dial after less has learned nothing about the proxy
Secrets = Callable[[SecretReference], Credentials]
"""Reads credentials.  Raises ProxyError."""


class UpstreamError(OSError):
    """No way through; the text is for the flow record."""


@dataclass(frozen=True, slots=True)
class Dialled:
    socket: socket.socket
    """Connected, non-blocking."""
    layers: TlsLayers
    leftover: bytes
    """What the destination has said already."""
    via: str


class Upstreams:
    def __init__(self, tls: ProxyTls, redirects: RedirectSource, secrets: Secrets, *, timeout: float) -> None:
        """`timeout`: seconds for all attempts of one connection together."""
        self._tls = tls
        self._redirects = redirects
        self._secrets = secrets
        self._timeout = timeout
        self._addresses: dict[tuple[str, int], tuple[float, list[Address]]] = {}
        self.health = UpstreamHealth()

    async def dial(
        self, upstream: Upstream, destination: tuple[Address, int], host: str | None, records: bytes
    ) -> Dialled:
        """`host`: what the app called the destination, if that is known.  Raises UpstreamError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        by_name = host is not None and upstream.asks_by_name and not _is_address(host)
        target = (host if host is not None and by_name else destination[0], destination[1])
        chains = self.health.order(upstream, loop.time())
        attempts = [_Attempt(self, upstream, chain, target, records) for chain in chains]
        failures: list[str] = []
        for place, attempt in enumerate(attempts):
            shares = len(attempts) - place + upstream.may_go_direct
            try:
                async with asyncio.timeout_at(loop.time() + (deadline - loop.time()) / shares):
                    dialled = await attempt.run()
                self._not_asked(attempts[place + 1 :])
                return dialled
            except ProxyError as error:
                failures.append(str(error))
                if error.about_target:  # this proxy works; another one would be a way around its answer
                    self._not_asked(attempts[place + 1 :])
                    break
            except TimeoutError:
                failures.append(f"{attempt.late()}: no answer in time")
            except OSError as error:
                attempt.failed()
                failures.append(f"{attempt.chain[0]}: {describe(error)}")
            except asyncio.CancelledError:
                attempt.given_up()
                self._not_asked(attempts[place + 1 :])
                raise
        else:
            if upstream.may_go_direct:
                return await self._direct(upstream, destination, records, deadline, failures)
        raise UpstreamError(f"upstream {upstream.name}: {'; '.join(failures)}")

    async def _direct(
        self, upstream: Upstream, destination: tuple[Address, int], records: bytes, deadline: float, why: list[str]
    ) -> Dialled:
        """As the upstream says, when none of its proxies works."""
        try:
            async with asyncio.timeout_at(deadline):
                straight = await dial(destination, records, self._redirects)
        except OSError as error:  # TimeoutError is one
            failures = "; ".join([*why, f"direct: {describe(error)}"])
            raise UpstreamError(f"upstream {upstream.name}: {failures}") from error
        return Dialled(straight, TlsLayers(), b"", "direct, no proxy works")

    def _not_asked(self, attempts: Iterable[_Attempt]) -> None:
        for attempt in attempts:
            self.health.not_asked(attempt.upstream, attempt.chain)

    async def credentials(self, chain: Chain) -> dict[Hop, Credentials]:
        """Raises ProxyError."""
        found: dict[Hop, Credentials] = {}
        for hop in chain:
            if isinstance(hop.credentials, SecretReference):
                try:
                    found[hop] = await asyncio.to_thread(self._secrets, hop.credentials)
                except ProxyError as error:
                    raise HopError(hop, error, is_last=False) from error
            elif hop.credentials is not None:
                found[hop] = hop.credentials
        return found

    async def connected(self, hop: Hop, records: bytes) -> socket.socket:
        """To one of the addresses of the first proxy.  Raises OSError."""
        loop = asyncio.get_running_loop()
        addresses = await self._lookup(hop)
        for place, address in enumerate(addresses):
            connection = prepared(address, records, self._redirects)
            is_last = place + 1 == len(addresses)
            try:
                async with asyncio.timeout(None if is_last else ADDRESS_PATIENCE):
                    await loop.sock_connect(connection, (str(address), hop.port))
            except OSError:
                connection.close()
                if is_last:
                    self._addresses.pop((hop.host, hop.port), None)
                    raise
            except BaseException:  # cancelled: nobody else knows this socket
                connection.close()
                self._addresses.pop((hop.host, hop.port), None)
                raise
            else:
                return connection
        raise UpstreamError("its name has no address")

    async def _lookup(self, hop: Hop) -> list[Address]:
        if hop.address is not None:
            return [hop.address]
        loop = asyncio.get_running_loop()
        known = self._addresses.get((hop.host, hop.port))
        if known is not None and loop.time() < known[0]:
            return known[1]
        try:
            found = await loop.getaddrinfo(hop.host, hop.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise UpstreamError(f"its name cannot be looked up: {(error.strerror or str(error)).lower()}") from error
        addresses = list(dict.fromkeys(ip_address(str(one[4][0]).partition("%")[0]) for one in found))[:MAX_ADDRESSES]
        while len(self._addresses) >= MAX_NAMES:
            del self._addresses[next(iter(self._addresses))]
        self._addresses[hop.host, hop.port] = (loop.time() + REMEMBER_ADDRESSES, addresses)
        return addresses


def _is_address(host: str) -> bool:
    """An app that asks for an address in its Host field has no name for where it dialled."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class _Attempt:
    """One chain, tried for one connection; what it learns about the chain goes into the shared health."""

    def __init__(
        self, shared: Upstreams, upstream: Upstream, chain: Chain, target: tuple[str | Address, int], records: bytes
    ) -> None:
        self._shared = shared
        self._target = target
        self._records = records
        self._tunnel: Tunnel | None = None
        self._loop = asyncio.get_running_loop()
        self._began = 0.0
        self.upstream = upstream
        self.chain = chain

    async def run(self) -> Dialled:
        """Raises ProxyError, OSError."""
        self._began = self._loop.time()
        try:
            credentials = await self._shared.credentials(self.chain)
        except ProxyError:
            self.failed()
            raise
        connection = await self._shared.connected(self.chain[0], self._records)
        try:
            tunnel = self._tunnel = Tunnel(self.chain, self._target, self._shared._tls, credentials)
            await self._through(connection, tunnel)
        except HopError as error:
            connection.close()
            self._learn_from(error)
            raise
        except BaseException:  # cancelled too: nobody else knows this socket
            connection.close()
            raise
        self._shared.health.worked(self.upstream, self.chain)
        return Dialled(connection, tunnel.layers, tunnel.leftover, words_of(self.chain))

    async def _through(self, connection: socket.socket, tunnel: Tunnel) -> None:
        await self._loop.sock_sendall(connection, tunnel.start())
        while not tunnel.done:
            data = await self._loop.sock_recv(connection, READ_SIZE)
            if not data:
                raise tunnel.ended()
            answer = tunnel.receive(data)
            if answer:
                await self._loop.sock_sendall(connection, answer)

    def _learn_from(self, error: HopError) -> None:
        if error.about_target:
            self._shared.health.worked(self.upstream, self.chain)
        else:
            self.failed()

    def failed(self) -> None:
        self._shared.health.failed(self.upstream, self.chain, self._loop.time())

    def late(self) -> str:
        """Its time is over.  Returns whom it waited for, for people."""
        if self._waits_for_destination:
            self._shared.health.doubtful(self.upstream, self.chain, str(self._target), self._loop.time())
            return str(self.chain[-1])
        self.failed()
        return words_of(self.chain)

    def given_up(self) -> None:
        """By the app, or for the end of the dial."""
        if self._loop.time() - self._began >= PATIENCE:
            self.late()
        else:
            self._shared.health.not_asked(self.upstream, self.chain)

    @property
    def _waits_for_destination(self) -> bool:
        return self._tunnel is not None and self._tunnel.asks_last
