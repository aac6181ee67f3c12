"""T3: would this machine accept what the proxy shows?  A fresh leaf of our root, judged by Windows' own rules."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding

from pointsman.authority.issue import Root, issue_leaf, permitted_names
from pointsman.authority.root_store import key_path, load_root
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.errors import PointsmanError
from pointsman.system.key_protection import key_protection

NAME = "pointsman-doctor.example"
UNTRUSTED_ROOT, CHAINING = 0x800B_0109, 0x800B_010A  # CERT_E_*
NO_ROOT = 0x1_0020  # CERT_TRUST_IS_PARTIAL_CHAIN, CERT_TRUST_IS_UNTRUSTED_ROOT: what a root that is not there gives
BITS = {
    0x1: "a certificate is outside its dates (clock? N3)",
    0x4: "revoked",
    0x8: "a signature is wrong",
    0x10: "a certificate may not be used for servers",
    0x20: "the root is not trusted",
    0x800: "the root may not sign this name",
    0x1_0000: "no chain to a root could be built",
    0x0400_0000: "explicitly distrusted",
}
"""CERT_TRUST_* of wincrypt.h."""


def look(scene: Scene) -> Finding:
    if not key_path(scene.ca_dir).exists():
        return skipped("there is no root yet: the first run of the proxy makes it")
    try:
        root = load_root(scene.ca_dir, key_protection())
    except PointsmanError as error:
        return skipped(f"the root's key cannot be used from here: {error.seen}")
    try:
        verdict = scene.host.chain(_leaf(root), _name(root))
    except OSError as error:
        return skipped(f"Windows cannot be asked: {error.strerror}")
    if not verdict.error and not verdict.status:
        return ok("a fresh certificate of ours is accepted by this machine")
    reasons = [text for bit, text in BITS.items() if verdict.status & bit]
    seen = f"error 0x{verdict.error:08X}, status 0x{verdict.status:X}: {'; '.join(reasons) or 'no reason that we know'}"
    if verdict.error in (0, UNTRUSTED_ROOT, CHAINING) and not verdict.status & ~NO_ROOT:
        return warn(
            seen, "apps refuse inspected connections; after the first refusal they are relayed", "pointsman ca install"
        )
    return fail(
        seen,
        "inspected TLS connections fail in programs that ask Windows",
        "mend what is named, or: pointsman ca rotate",
    )


def _name(root: Root) -> str:
    """One that the root may sign: it may be limited to some names."""
    permitted = permitted_names(root)
    return f"pointsman-doctor.{permitted[0].lstrip('.')}" if permitted else NAME


def _leaf(root: Root) -> bytes:
    key = generate_private_key(SECP256R1())
    serial = secrets.randbits(64) | 1
    leaf = issue_leaf(root, [_name(root)], key.public_key(), now=datetime.now(UTC), serial=serial)
    return leaf.public_bytes(Encoding.DER)


CHECK = Check("T3", "chain builds", Need.WINDOWS, look)
