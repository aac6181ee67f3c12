"""Put our roots into the system's store and take them out again; what was done is looked for afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pointsman.authority.root_store import Issued, describe, issued_roots, root_path
from pointsman.errors import PointsmanError
from pointsman.system.trust_store import TrustStore, trust_store


def install_roots(ca_dir: Path, store: TrustStore) -> list[Issued]:
    """Add every root that apps should trust now.  Raises PointsmanError PM454: the store refused."""
    installed = []
    with _explained(store):
        for certificate in x509.load_pem_x509_certificates(root_path(ca_dir).read_bytes()):
            root = describe(certificate)
            store.add(certificate.public_bytes(serialization.Encoding.DER))
            if not store.has(root.sha1):
                raise _refused(store, f"it took {root.subject} and does not have it")
            installed.append(root)
    return installed


def remove_roots(ca_dir: Path, store: TrustStore) -> list[tuple[Issued, bool]]:
    """Remove every root that was ever made here; True for those that were there.

    Raises:
        PointsmanError: PM454, the store refused; PM451, the list of them cannot be read.
    """
    removed = []
    with _explained(store):
        for root in issued_roots(ca_dir):
            was_there = store.has(root.sha1) and store.remove(root.sha1)
            if store.has(root.sha1):
                raise _refused(store, f"{root.subject} is still there")
            removed.append((root, was_there))
    return removed


def is_installed(ca_dir: Path, store: TrustStore) -> bool:
    """Is any root that was ever made here in the store?  Raises PointsmanError PM451, PM454."""
    with _explained(store):
        return any(store.has(root.sha1) for root in issued_roots(ca_dir))


def some_store() -> TrustStore:
    """Raises PointsmanError PM453: there is none that we know."""
    store = trust_store()
    if store is None:
        raise PointsmanError(
            "this system has no store of roots that we know",
            code="PM453", seen=f"{sys.platform}, without update-ca-certificates and update-ca-trust",
            effect="nothing was changed; programs do not trust our leafs",
            do="`pointsman ca export root.pem`, and add it as your system's manual says",
        )  # fmt: skip
    return store


@contextmanager
def _explained(store: TrustStore) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(store, f"{error.filename or ''} {error.strerror or error}".strip()) from error


def _refused(store: TrustStore, seen: str) -> PointsmanError:
    return PointsmanError(
        f"cannot change {store.name}",
        code="PM454", seen=seen, effect="programs trust what they trusted before",
        do="run it as an administrator (Linux: as root)",
    )  # fmt: skip
