"""A small client for the demo, standard library only, run as a program of its own: it knows nothing of Pointsman.

    client.py get URL                 one request
    client.py greet HOST PORT         waits for a server that speaks first
    client.py loop URL TIMEOUT        one request after the other, a new connection each, until it is stopped

Prints one JSON object a line.  `at` is CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit


def get(url: str, timeout: float) -> dict[str, object]:
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=ssl.create_default_context())
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.connect()
        issuer = None
        if isinstance(connection.sock, ssl.SSLSocket):
            certificate = connection.sock.getpeercert() or {}
            names = dict(pair[0] for pair in certificate["issuer"])  # type: ignore[misc]
            issuer = names["organizationName"]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Connection": "close"})
        response = connection.getresponse()
        return {"status": response.status, "size": len(response.read()), "issuer": issuer}
    finally:
        connection.close()


def greet(host: str, port: int) -> dict[str, object]:
    start = time.monotonic()
    with socket.create_connection((host, port), timeout=10) as connection:
        text = connection.recv(1024)
    return {"greeting": text.decode("ascii", "replace").strip(), "ms": (time.monotonic() - start) * 1000}


def attempt(url: str, timeout: float) -> dict[str, object]:
    try:
        return get(url, timeout)
    except OSError as error:
        return {"error": type(error).__name__, "errno": error.errno, "text": str(error)}
    except http.client.HTTPException as error:
        return {"error": type(error).__name__, "errno": None, "text": str(error)}


def say(result: dict[str, object]) -> None:
    print(json.dumps({**result, "at": time.monotonic()}), flush=True)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["get", url]:
            say(attempt(url, 10))
        case ["greet", host, port]:
            say(greet(host, int(port)))
        case ["loop", url, timeout]:
            while True:
                say(attempt(url, float(timeout)))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
