"""A proxy small enough to trust: registers, adds the filters it is told, answers HTTP with what the driver attached.

argv[1]: JSON, a list of [verdict, address, port]; argv[2]: its lease in ms, which it never renews.  It prints
`ready`, then one JSON line for each connection.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
from ipaddress import IPv4Address, IPv6Address, ip_network

from pointsman.lab.system import LabSystem
from pointsman.wire import abi
from pointsman.wire.filters import Condition, Field, Filter, Layer
from pointsman.wire.redirect_context import decode_redirect_context

LAYERS = {
    (abi.Verdict.PASS, 4): Layer.CONNECT_REDIRECT_V4,
    (abi.Verdict.PASS, 6): Layer.CONNECT_REDIRECT_V6,
    (abi.Verdict.REDIRECT, 4): Layer.CONNECT_REDIRECT_V4,
    (abi.Verdict.REDIRECT, 6): Layer.CONNECT_REDIRECT_V6,
    (abi.Verdict.BLOCK, 4): Layer.AUTH_CONNECT_V4,
    (abi.Verdict.BLOCK, 6): Layer.AUTH_CONNECT_V6,
}


def rules(registration: int) -> list[Filter]:
    filters = []
    for number, (name, address, port) in enumerate(json.loads(sys.argv[1]), 1):
        verdict, network = abi.Verdict[name], ip_network(address)
        conditions = (Condition(Field.REMOTE_ADDRESS, network), Condition(Field.REMOTE_PORT, port))
        context = abi.filter_context(registration, verdict, number)
        filters.append(Filter(f"rule {number}", LAYERS[verdict, network.version], 1000 - number, context, conditions))
    return filters


def main() -> None:
    v4 = socket.create_server(("127.0.0.1", 0))
    v6 = socket.create_server(("::1", 0), family=socket.AF_INET6) if socket.has_ipv6 else None
    endpoints = abi.Endpoints(
        v4=(IPv4Address("127.0.0.1"), v4.getsockname()[1]),
        v6=(IPv6Address("::1"), v6.getsockname()[1]) if v6 else None,
    )
    system = LabSystem()
    driver = system.open_driver()
    lease_ms = int(sys.argv[2]) if len(sys.argv) > 2 else abi.LEASE_MAX_MS
    request = abi.register_request(endpoints, lease_ms=lease_ms)
    registered = abi.decode_registered(driver.control(abi.Ioctl.REGISTER, request, abi.REGISTERED_SIZE))
    engine = system.open_filter_engine()
    engine.replace(rules(registered.registration))
    print("ready", flush=True)
    serve([v4, *([v6] if v6 else [])], system)


def serve(listeners: list[socket.socket], system: LabSystem) -> None:
    selector = selectors.DefaultSelector()
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            accepted, _ = key.fileobj.accept()
            with accepted:
                answer(accepted, system)


def answer(accepted: socket.socket, system: LabSystem) -> None:
    context = system.redirects.redirect_context(accepted)
    told: dict[str, object] = {"redirected": context is not None}
    if context is not None:
        decoded = decode_redirect_context(context)
        address, port = decoded.original_destination
        told |= {
            "address": str(address), "port": port, "pid": decoded.pid, "rule": decoded.rule_id,
            "app": system.image_path(decoded.app_id), "records": len(system.redirects.redirect_records(accepted)),
        }  # fmt: skip
    print(json.dumps(told), flush=True)
    body = json.dumps(told).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with contextlib.suppress(OSError):  # the client may have gone
        accepted.sendall(head % len(body) + body)
        accepted.shutdown(socket.SHUT_WR)
        while accepted.recv(65536):
            continue  # closing with unread bytes would reset the connection before the answer is read


if __name__ == "__main__":
    main()
