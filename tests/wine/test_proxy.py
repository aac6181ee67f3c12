"""The product's proxy in the Windows Python, on the Proactor event loop, with the real driver: up, a connection, down.

WFP's part of a redirected socket is missing in Wine, so a double says where the connection was going; everything else,
from the accept loop to the dial, is what Windows would run.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pointsman.authority.root_store import root_path
from pointsman.system.windows.service_manager import DriverService
from pointsman.testing import authority

from .machine import Machine, Process, RemoteError, windows_path

pytestmark = pytest.mark.timeout(900)
RELAY = 'default = "relay"\n'
INSPECT = 'default = "inspect"\n'
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


@contextmanager
def origin_server(tls: ssl.SSLContext | None = None) -> Iterator[tuple[IPv4Address, int]]:
    """Answers one HTTP request per connection, on loopback."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the test is over
            connection.settimeout(60)
            with connection if tls is None else tls.wrap_socket(connection, server_side=True) as serving:
                asked = b""
                while b"\r\n\r\n" not in asked and (part := serving.recv(65536)):
                    asked += part
                if asked:
                    serving.sendall(REPLY)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield IPv4Address("127.0.0.1"), listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture
def origin() -> Iterator[tuple[IPv4Address, int]]:
    with origin_server() as address:
        yield address


def ask(client: socket.socket) -> bytes:
    client.sendall(b"GET /a HTTP/1.1\r\nHost: example.test\r\n\r\n")
    reply = b""
    while part := client.recv(65536):
        reply += part
    return reply


def fetch(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        return ask(client)


@pytest.mark.parametrize("policy", [RELAY, INSPECT])
def test_the_proxy_runs_on_windows_python(
    machine: Machine,
    driver: DriverService,
    proxy: Callable[[], Process],
    origin: tuple[IPv4Address, int],
    tmp_path: Path,
    policy: str,
) -> None:
    watcher, process = proxy(), machine.process(new=True)

    endpoints, number = process.call("start_proxy", policy, windows_path(tmp_path / "ca"), origin)
    status = watcher.call("status")
    assert (status.active_registration, status.registrations[0].pid) == (number, process.pid)
    assert status.registrations[0].endpoints == endpoints
    replies = [fetch(endpoints.v4[1]) for _ in range(3)]

    assert [reply.rpartition(b"\r\n\r\n")[2] for reply in replies] == [b"hello"] * 3
    counters, loop = process.call("proxy_facts")
    assert (counters.accepted, loop) == (3, "ProactorEventLoop")
    process.call("stop_proxy")
    assert watcher.call("status").registrations == ()
    assert (tmp_path / "ca").is_dir()


def test_a_proxy_on_windows_python_is_told_things_over_its_named_pipe(
    machine: Machine,
    driver: DriverService,
    origin: tuple[IPv4Address, int],
    refused: Callable[..., RemoteError],
    tmp_path: Path,
) -> None:
    process, caller = machine.process(new=True), machine.process()
    _, number = process.call("start_proxy", RELAY, windows_path(tmp_path / "ca"), origin)

    def tell(command: str, **arguments: object) -> dict[str, object]:
        told = caller.call("ask_proxy", process.pid, command, arguments)
        assert isinstance(told, dict)
        return told

    for _ in range(6):  # more than there are workers
        assert tell("status")["registration"] == number
    tell("pause", seconds=60)
    assert tell("status")["phase"] == "paused"
    assert tell("resume") == {"was_paused": True}
    assert "no command" in str(refused(caller, "ask_proxy", process.pid, "reboot", {}))
    process.call("stop_proxy")
    assert "FileNotFoundError" in str(refused(caller, "ask_proxy", process.pid, "status", {}))


def test_tls_is_inspected_on_windows_python(machine: Machine, driver: DriverService, tmp_path: Path) -> None:
    trusted_upstream = tmp_path / "origin.pem"
    trusted_upstream.write_text(authority.pem(authority.root()))
    process = machine.process(new=True)

    with origin_server(authority.server_context("example.test")) as origin:
        endpoints, _ = process.call(
            "start_proxy", INSPECT, windows_path(tmp_path / "ca"), origin, windows_path(trusted_upstream)
        )
        app = ssl.create_default_context(cafile=str(root_path(tmp_path / "ca")))
        with (
            socket.create_connection(("127.0.0.1", endpoints.v4[1]), timeout=60) as plain,
            app.wrap_socket(plain, server_hostname="example.test") as client,
        ):
            leaf = client.getpeercert()
            reply = ask(client)
        process.call("stop_proxy")

    assert reply.endswith(b"hello")
    assert leaf is not None and ("DNS", "example.test") in leaf["subjectAltName"]


def test_resets_before_the_accept_do_not_end_the_proxy(
    machine: Machine, driver: DriverService, origin: tuple[IPv4Address, int], tmp_path: Path
) -> None:
    """asyncio's own accept loop closes the listening socket then (python/cpython#93821)."""
    process = machine.process(new=True)
    endpoints, _ = process.call("start_proxy", RELAY, windows_path(tmp_path / "ca"), origin)
    port = endpoints.v4[1]

    for _ in range(20):
        client = socket.create_connection(("127.0.0.1", port), timeout=60)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close sends a reset
        client.close()

    assert fetch(port).endswith(b"hello")
    process.call("stop_proxy")
