"""The canary's own process: dials what it is told, over TLS, and says what came back.

    python -m pointsman.control.canary_client

Says `READY`, then takes one line of JSON (`Order`) and gives one (a list of `Outcome`).

A program like any other to the driver, which is the point.  It ends when its order is done or its input ends, so it
never outlives the proxy that started it.  It trusts our root alone, and knows no secret.
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec

READY = b"ready\n"
BODY_LIMIT = 4096  # bytes of the whole response
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class Order(msgspec.Struct):
    destinations: list[tuple[str, int]]
    name: str
    """For SNI, the certificate and Host."""
    root: str
    """PEM file."""
    timeout: float
    """Seconds for each."""


class Outcome(msgspec.Struct):
    address: str
    body: str | None = None
    """What the response said."""
    error: str | None = None
    unreachable: bool = False
    """This machine has no route for the family."""


def dial(address: str, port: int, order: Order) -> Outcome:
    try:
        context = ssl.create_default_context(cafile=order.root)
        with (
            socket.create_connection((address, port), timeout=order.timeout) as plain,
            context.wrap_socket(plain, server_hostname=order.name) as secured,
        ):
            secured.sendall(f"GET /canary HTTP/1.1\r\nHost: {order.name}\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while (chunk := secured.recv(BODY_LIMIT)) and len(data) < BODY_LIMIT:
                data += chunk
    except OSError as error:  # ssl.SSLError and TimeoutError are such
        return Outcome(address, error=str(error) or type(error).__name__, unreachable=error.errno in _UNREACHABLE)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        return Outcome(address, error=f"the response begins with {head[:40]!r}")
    return Outcome(address, body=body.decode("latin-1"))


def main() -> None:
    _say(READY)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    order = msgspec.json.decode(line, type=Order)
    with ThreadPoolExecutor(max_workers=2) as threads:
        outcomes = list(threads.map(lambda one: dial(one[0], one[1], order), order.destinations))
    with suppress(BrokenPipeError):  # whoever ordered it has gone
        _say(msgspec.json.encode(outcomes) + b"\n")


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
