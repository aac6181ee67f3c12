"""Clients that insist on a revocation list get ours, through the proxy, from the proxy."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from tests.server.intercepting import Intercepting, intercepting

from pointsman.authority.leaf_cache import LeafCache
from pointsman.engine.revocations import PATH, url_for
from pointsman.testing import authority

HOST = "www.example.com"
PATIENCE = 20.0


def test_openssl_verifies_our_leaf_with_the_list_that_it_names(tmp_path: Path) -> None:
    origins = LeafCache(authority.root(), now=lambda: datetime.now(UTC))
    context = origins.get((HOST,), None, "http://crl.example/ca.crl")

    def client(proxy: Intercepting) -> None:
        leaf = shown_leaf(proxy, tmp_path)
        (point,) = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name is not None
        url = point.full_name[0].value
        assert url == url_for(HOST) == f"http://{HOST}{PATH}"
        fetched = fetch(proxy, url, tmp_path)
        assert verify(proxy, fetched) == 0
        assert verify(proxy, None) != 0, "without the list it does not verify"
        assert verify(proxy, stranger(tmp_path)) != 0, "nor with that of another authority"

    async def scenario() -> None:
        async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        origin = await asyncio.start_server(never, "127.0.0.1", 0, ssl=context)
        async with origin, intercepting(tmp_path, policy='default = "inspect"') as proxy:
            proxy.redirect_to(origin.sockets[0].getsockname()[1])
            await asyncio.to_thread(client, proxy)
        assert [r.path for r in proxy.records if r.note and "revoked" in r.note] == [None]

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE))


def shown_leaf(proxy: Intercepting, directory: Path) -> x509.Certificate:
    import socket

    with socket.create_connection(proxy.address, PATIENCE) as raw:
        tls = authority.client_context(trusts=authority.root("proxy")).wrap_socket(raw, server_hostname=HOST)
        der = tls.getpeercert(binary_form=True)
        tls.close()
    assert der is not None
    leaf = x509.load_der_x509_certificate(der)
    from cryptography.hazmat.primitives.serialization import Encoding

    (directory / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    return leaf


def fetch(proxy: Intercepting, url: str, directory: Path) -> Path:
    """By curl, whose connection to port 80 is led to the proxy as the driver would."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    address, port = proxy.address
    crl = directory / "fetched.crl"
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--connect-to", f"::{address}:{port}", "-o", crl, "-w", "%{content_type}", url],
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert done.stdout == "application/pkix-crl"
    return crl


def verify(proxy: Intercepting, crl: Path | None) -> int:
    extra: list[str | Path] = ["-CRLfile", crl] if crl is not None else []
    return subprocess.run(
        ["openssl", "verify", "-crl_check", "-x509_strict", "-CAfile", proxy.root_pem, *extra,
         proxy.root_pem.parent / "leaf.pem"],
        capture_output=True, timeout=PATIENCE, check=False,
    ).returncode  # fmt: skip


def stranger(directory: Path) -> Path:
    from pointsman.authority.revocations import Revocations

    path = directory / "stranger.crl"
    path.write_bytes(Revocations(authority.root("stranger"), now=lambda: datetime.now(UTC))())
    return path
