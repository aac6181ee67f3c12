"""SO_ORIGINAL_DST on real redirected connections, in a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from ipaddress import IPv4Address

import pytest

from pointsman.system.interface import DriverError
from pointsman.system.netfilter import NetfilterDriver, NetfilterRedirects, NetfilterSystem, original_destination
from pointsman.wire.abi import Ioctl, decode_registered, decode_version

TOOLS = ("unshare", "nft", "ip")
IN_A_NAMESPACE = r"""
import socket, subprocess
from pointsman.system.netfilter import NetfilterRedirects

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
rules = "table inet nat {\nchain out {\ntype nat hook output priority -100\ntcp dport 80 redirect to :8443\n}\n}\n"
subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
for family, own, dialled in ((socket.AF_INET, "127.0.0.1", "127.0.0.2"), (socket.AF_INET6, "::", "::1")):
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((own, 8443))
        listening.listen()
        for port in (80, 8443):
            if port == 8443 and family == socket.AF_INET:
                dialled = own
            with socket.create_connection((dialled, port)):
                accepted, _ = listening.accept()
                context = NetfilterRedirects().redirect_context(accepted)
                accepted.close()
            print(dialled, port, context and context.original_destination)
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, TOOLS)), reason="needs root, unshare, nft and ip to make a redirect"
)
def test_a_redirected_connection_tells_whither_it_was_dialled_and_another_is_refused() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "127.0.0.2 80 (IPv4Address('127.0.0.2'), 80)",
        "127.0.0.1 8443 None",
        "::1 80 (IPv6Address('::1'), 80)",
        "::1 8443 None",
    ]


def test_a_connection_that_nobody_redirected_has_no_context() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert original_destination(accepted) is None
            assert NetfilterRedirects().redirect_context(accepted) is None
            assert NetfilterRedirects().redirect_records(accepted) == b""


def test_a_connection_that_is_gone_has_no_context() -> None:
    closed = socket.socket()
    closed.close()

    assert original_destination(closed) is None


def test_a_context_says_what_a_gateway_knows_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    destination = (IPv4Address("192.0.2.1"), 443)
    monkeypatch.setattr("pointsman.system.netfilter.original_destination", lambda _: destination)
    with socket.socket() as accepted:
        context = NetfilterRedirects().redirect_context(accepted)
    assert context is not None

    assert (context.original_destination, context.app_id, context.pid) == (destination, b"", 0)


def test_registering_needs_no_driver_and_what_is_no_registration_is_refused() -> None:
    driver = NetfilterSystem().open_driver()
    assert decode_version(driver.control(Ioctl.QUERY_VERSION, b"", 16)).abi == 1
    assert decode_registered(driver.control(Ioctl.REGISTER, b"", 24)).registration == 1
    assert driver.control(Ioctl.RENEW, b"", 0) == driver.control(Ioctl.WITHDRAW, b"", 0) == b""
    with pytest.raises(DriverError):
        NetfilterDriver().control(Ioctl.STATUS, b"", 4096)
