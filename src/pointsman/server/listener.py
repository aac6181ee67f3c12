"""Listen on loopback and accept, for as long as the proxy lives.

Its own accept loop: asyncio's closes the *listening* socket on Windows when a client resets before it was accepted
(python/cpython#93821).  Here an error belongs to one connection, is counted, and the loop goes on.  What becomes of an
accepted socket is decided by the caller.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from pointsman.errors import Exit, PointsmanError
from pointsman.server.dial import describe
from pointsman.server.limits import Counters
from pointsman.server.readiness import READ, knows_readiness, readiness
from pointsman.wire.abi import Endpoints

BACKLOG = 1024  # connections that wait to be accepted
EXHAUSTED_PAUSE = 0.1  # seconds without accepting when the system is out of handles or memory
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_ANY = (IPv4Address("0.0.0.0"), IPv6Address("::"))  # noqa: S104 - a gateway's clients are other machines


@dataclass(frozen=True, slots=True)
class Listeners:
    endpoints: Endpoints
    sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        for listening in self.sockets:
            listening.close()


def listen(port: int, *, any_address: bool = False) -> Listeners:
    """Bind 127.0.0.1 and, where the system has it, ::1.  Port 0 lets the system choose, for each its own.

    `any_address`: every address of this machine in place of loopback.

    Raises:
        PointsmanError: PM401, another program has the port.
    """
    address4, address6 = _ANY if any_address else _LOOPBACK
    v4 = _bind(socket.AF_INET, str(address4), port)
    try:
        v6 = _bind(socket.AF_INET6, str(address6), port)
    except OSError:
        # No IPv6 here: connections over IPv6 fail open, since the driver gets no endpoint for them.
        return Listeners(Endpoints(v4=(address4, v4.getsockname()[1])), (v4,))
    except PointsmanError:
        v4.close()
        raise
    return Listeners(Endpoints(v4=(address4, v4.getsockname()[1]), v6=(address6, v6.getsockname()[1])), (v4, v6))


def _bind(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            # On Windows SO_REUSEADDR would let any program take the port from us.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise _taken(address, port, error) from error
        raise
    return listening


async def accept_forever(
    listening: socket.socket, accepted: Callable[[socket.socket], None], counters: Counters, at_once: int = 64
) -> None:
    """Ends when `listening` is closed, or by cancellation.  `accepted` owns each socket it is given."""
    loop = asyncio.get_running_loop()
    if knows_readiness(loop):
        await _accept_when_ready(listening, accepted, counters, at_once)
        return
    while listening.fileno() >= 0:
        try:
            connection, _ = await loop.sock_accept(listening)
        except OSError as error:
            # Reset before it was accepted, or the system is short of something: one connection's trouble.
            counters.accept_errors += 1
            await asyncio.sleep(EXHAUSTED_PAUSE if error.errno in _EXHAUSTED else 0)
            continue
        counters.accepted += 1
        accepted(connection)


async def _accept_when_ready(
    listening: socket.socket, accepted: Callable[[socket.socket], None], counters: Counters, at_once: int
) -> None:
    """The same without a future for each connection: all that wait are accepted in one turn of the loop."""
    loop = asyncio.get_running_loop()
    descriptor, ready = listening.fileno(), readiness()
    exhausted: asyncio.Future[None] = loop.create_future()

    def take(events: int) -> None:
        del events  # to accept is what tells
        for _ in range(at_once):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # Reset before it was accepted, or the system is short of something: one connection's trouble.
                counters.accept_errors += 1
                if error.errno in _EXHAUSTED:
                    ready.forget(descriptor)
                    exhausted.set_result(None)
                return
            connection.setblocking(False)
            counters.accepted += 1
            accepted(connection)

    try:
        while listening.fileno() >= 0:
            exhausted = loop.create_future()
            ready.watch(descriptor, READ, take)
            await exhausted
            await asyncio.sleep(EXHAUSTED_PAUSE)
    finally:
        ready.forget(descriptor)


def _taken(address: str, port: int, error: OSError) -> PointsmanError:
    return PointsmanError(
        f"cannot listen on {address} port {port}",
        code="PM401",
        seen=describe(error),
        effect="the proxy does not start; nothing is intercepted (fail open)",
        do="stop the program that has the port, or choose another (0 lets the system choose)",
        status=Exit.PORT_TAKEN,
    )
