"""The demo's internet: which names and addresses exist there, and the CA that everybody on it trusts.

Addresses are those reserved for documentation (RFC 5737), which count as public in the driver; the origin that answers
for them listens on loopback, and the lab network leads connections there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from pointsman.authority.issue import issue_leaf, issue_root

ORGANIZATION = "Demo Internet CA"
SHOP, BANK, MAIL = "shop.example", "bank.example", "mail.example"
ADDRESSES = {SHOP: "203.0.113.10", BANK: "203.0.113.20", MAIL: "203.0.113.30"}
BLOCKED = "203.0.113.66"
PRIVATE = "10.20.30.40"
GREETING = b"220 mail.example ESMTP ready\r\n"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the origin listens on 127.0.0.1."""

    https: int
    http: int
    greeting: int
    tripwire: int
    """A port that nobody may ever reach: it stands behind the blocked address."""


def policy(excluded_app: Path) -> str:
    """The demo's rules, as a person would write them."""
    return f"""\
default = "inspect"

[[rule]]
name = "blocked address"
net = "{BLOCKED}"
action = "block"

[[rule]]
name = "excluded program"
app = "{excluded_app}"
action = "direct"

[[rule]]
name = "bank stays private"
host = "{BANK}"
action = "relay"

[[rule]]
name = "no QUIC"
protocol = "udp"
port = 443
action = "block"
"""


def names() -> list[str]:
    return [f"{name}={address}" for name, address in ADDRESSES.items()]


def maps(ports: Ports) -> list[str]:
    return [
        f"{ADDRESSES[SHOP]}:443=127.0.0.1:{ports.https}",
        f"{ADDRESSES[SHOP]}:80=127.0.0.1:{ports.http}",
        f"{ADDRESSES[BANK]}:443=127.0.0.1:{ports.https}",
        f"{ADDRESSES[MAIL]}:25=127.0.0.1:{ports.greeting}",
        f"{BLOCKED}:443=127.0.0.1:{ports.tripwire}",
        f"{PRIVATE}:80=127.0.0.1:{ports.http}",
    ]


def make_certificates(directory: Path, names: Iterable[str]) -> tuple[Path, Path]:
    """A CA and one leaf for `names`.  Returns the CA's certificate, and key and leaf together, as PEM files."""
    now = datetime.now(UTC)
    root = issue_root(
        generate_private_key(SECP256R1()), now=now, serial=x509.random_serial_number(), organization=ORGANIZATION
    )
    key = generate_private_key(SECP256R1())
    leaf = issue_leaf(root, names, key.public_key(), now=now, serial=x509.random_serial_number())
    pem = serialization.Encoding.PEM
    ca, chain = directory / "internet-ca.pem", directory / "origin.pem"
    ca.write_bytes(root.certificate.public_bytes(pem))
    chain.touch(mode=0o600)
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(private + leaf.public_bytes(pem))
    return ca, chain
