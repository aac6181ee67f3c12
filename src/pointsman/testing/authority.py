"""A certificate authority in memory, for tests that need a real origin, a wrong one, or an app that trusts our root.

Keys are made once a process, since making them is what costs.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from pointsman.authority.issue import Root, issue_leaf, issue_root
from pointsman.authority.leaf_cache import LeafCache


@cache
def key(name: str) -> EllipticCurvePrivateKey:
    """The same key for the same name."""
    del name  # the cache keeps them apart
    return generate_private_key(SECP256R1())


@cache
def root(name: str = "origin", *, days_ago: int = 0) -> Root:
    return issue_root(key(name), now=datetime.now(UTC) - timedelta(days=days_ago), serial=days_ago + 1)


def pem(of: Root) -> str:
    return of.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def server_context(
    *names: str, alpn: str | None = None, signed_by: Root | None = None, days_ago: int = 0
) -> ssl.SSLContext:
    """What an origin called `names` would serve with; its leaf was issued `days_ago`."""
    leaves = LeafCache(signed_by or root(), now=lambda: datetime.now(UTC) - timedelta(days=days_ago))
    context = leaves.get(names, alpn)
    context.num_tickets = 0  # whose tickets are sent when is for each test to say
    return context


def write_leaf(path: Path, *names: str) -> None:
    """Certificate and key of an origin called `names`, in one file, for servers that are programs of their own."""
    private = key("leaf")
    certificate = issue_leaf(root(), names, private.public_key(), now=datetime.now(UTC), serial=1000)
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + text)


def client_context(*alpn: str, trusts: Root | None = None) -> ssl.SSLContext:
    """A verifying client that trusts this root alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=pem(trusts or root()))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def client_hello(server_name: str | None = "example.com", alpn: tuple[str, ...] = ()) -> bytes:
    """The first flight of a real client."""
    context = client_context(*alpn)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with suppress(ssl.SSLWantReadError):  # it waits for the server, as it should
        client.do_handshake()
    return outgoing.read()
