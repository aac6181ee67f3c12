"""Connect to the original destination, on a socket of our own.

The redirect records must be on the socket before it connects: they tell WFP whose connection this carries on, and
without them the proxy's own connection could be redirected to the proxy.  Nothing here knows why the connection is
wanted.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from ipaddress import IPv4Address

from pointsman.server.readiness import WRITE, Readiness
from pointsman.system.interface import RedirectSource
from pointsman.wire.abi import Address

_NON_BLOCKING = getattr(socket, "SOCK_NONBLOCK", 0)  # at no cost, where there is such a thing
_UNDER_WAY = {errno.EINPROGRESS, errno.EWOULDBLOCK}


class ReadyDial:
    """A dial on a loop that knows readiness, without a task of its own; `done` is called once, unless cancelled."""

    def __init__(
        self,
        upstream: socket.socket,
        done: Callable[[socket.socket, OSError | None], None],
        loop: asyncio.AbstractEventLoop,
        ready: Readiness,
    ) -> None:
        """`ready` is the loop's."""
        self._upstream = upstream
        self._done = done
        self._loop = loop
        self._readiness = ready
        self._waiting = False
        self._over = False

    def start(self, destination: tuple[Address, int]) -> None:
        error = self._upstream.connect_ex((str(destination[0]), destination[1]))
        if error in _UNDER_WAY:
            self._waiting = True
            self._readiness.watch(self._upstream.fileno(), WRITE, self._writable)
        else:  # not before the command that asked for it is done
            self._loop.call_soon(self._finish, error)

    def cancel(self) -> None:
        """Harmless when it is over."""
        if self._over:
            return
        self._over = True
        if self._waiting:
            self._waiting = False
            self._readiness.forget(self._upstream.fileno())
        self._upstream.close()

    def _writable(self, events: int) -> None:
        del events  # whichever: the socket knows how it went
        self._waiting = False
        error = self._upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._readiness.forget(self._upstream.fileno())
        self._finish(error)  # whoever takes it over goes on to watch it

    def _finish(self, error: int) -> None:
        if self._over:
            return
        self._over = True
        if error:
            self._upstream.close()
        self._done(self._upstream, OSError(error, os.strerror(error)) if error else None)


async def dial(destination: tuple[Address, int], records: bytes, redirects: RedirectSource) -> socket.socket:
    """A connected, non-blocking socket; the caller bounds the time.  Raises OSError."""
    upstream = prepared(destination[0], records, redirects)
    try:
        await asyncio.get_running_loop().sock_connect(upstream, (str(destination[0]), destination[1]))
    except BaseException:  # cancelled too: nobody else knows this socket
        upstream.close()
        raise
    return upstream


def prepared(address: Address, records: bytes, redirects: RedirectSource) -> socket.socket:
    """A socket that may connect to this address.  Raises OSError."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    upstream = socket.socket(family, socket.SOCK_STREAM | _NON_BLOCKING, socket.IPPROTO_TCP)
    try:
        if not _NON_BLOCKING:
            upstream.setblocking(False)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        redirects.apply_records(upstream, records)
    except BaseException:
        upstream.close()
        raise
    return upstream


def describe(error: OSError) -> str:
    """An OS error for people: `connection refused (ECONNREFUSED)`."""
    name = errno.errorcode.get(error.errno or 0)
    text = os.strerror(error.errno).lower() if name and error.errno else str(error) or type(error).__name__
    return f"{text} ({name})" if name else text
