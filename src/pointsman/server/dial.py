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
from ipaddress import IPv4Address

from pointsman.system.interface import RedirectSource
from pointsman.wire.abi import Address


async def dial(destination: tuple[Address, int], records: bytes, redirects: RedirectSource) -> socket.socket:
    """A connected, non-blocking socket; the caller bounds the time.  Raises OSError."""
    address, port = destination
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    upstream = socket.socket(family, socket.SOCK_STREAM)
    try:
        upstream.setblocking(False)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        redirects.apply_records(upstream, records)
        await asyncio.get_running_loop().sock_connect(upstream, (str(address), port))
    except BaseException:  # cancelled too: nobody else knows this socket
        upstream.close()
        raise
    return upstream


def describe(error: OSError) -> str:
    """An OS error for people: `connection refused (ECONNREFUSED)`."""
    name = errno.errorcode.get(error.errno or 0)
    text = os.strerror(error.errno).lower() if name and error.errno else str(error) or type(error).__name__
    return f"{text} ({name})" if name else text
