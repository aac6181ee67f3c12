"""The roots that Windows trusts: the machine's store, through crypt32 (wincrypt.h).

What is opened is the registry part of `LocalMachine\\Root`, which is where a root that is added goes; the logical store
shows that of group policies as well, which are not ours to remove.  (And Wine 8.0 deletes from this one only.)
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pointsman.system.windows._crypt32 import (
    CERT_FIND_SHA1_HASH,
    CERT_STORE_ADD_REPLACE_EXISTING,
    CERT_STORE_PROV_SYSTEM_REGISTRY_W,
    CERT_STORE_READONLY_FLAG,
    CERT_SYSTEM_STORE_LOCAL_MACHINE,
    CRYPT_E_NOT_FOUND,
    DATA_BLOB,
    ENCODINGS,
    CertAddEncodedCertificateToStore,
    CertCloseStore,
    CertDeleteCertificateFromStore,
    CertFindCertificateInStore,
    CertFreeCertificateContext,
    CertOpenStore,
)
from pointsman.system.windows._library import Win32Error

ERROR_ACCESS_DENIED = 5


class WindowsTrustStore:
    """Implements `system.trust_store.TrustStore`: `Root` of the local machine."""

    name = r"the machine's certificate store (LocalMachine\Root)"

    def add(self, der: bytes) -> None:
        with _opened(write=True) as store, _as_os_error():
            CertAddEncodedCertificateToStore(store, ENCODINGS, der, len(der), CERT_STORE_ADD_REPLACE_EXISTING, None)

    def has(self, sha1: str) -> bool:
        with _opened(write=False) as store:
            found = _find(store, sha1)
        if found is not None:
            CertFreeCertificateContext(found)
        return found is not None

    def remove(self, sha1: str) -> bool:
        with _opened(write=True) as store, _as_os_error():
            found = _find(store, sha1)
            if found is not None:
                CertDeleteCertificateFromStore(found)
        return found is not None


def _find(store: Any, sha1: str) -> Any:
    digest = bytes.fromhex(sha1)
    blob = DATA_BLOB(len(digest), ctypes.cast(ctypes.c_char_p(digest), ctypes.c_void_p))
    try:
        return CertFindCertificateInStore(store, ENCODINGS, 0, CERT_FIND_SHA1_HASH, ctypes.byref(blob), None)
    except Win32Error as error:
        if error.code == CRYPT_E_NOT_FOUND:
            return None
        raise


@contextmanager
def _opened(*, write: bool) -> Iterator[Any]:
    flags = CERT_SYSTEM_STORE_LOCAL_MACHINE | (0 if write else CERT_STORE_READONLY_FLAG)
    with _as_os_error():
        store = CertOpenStore(CERT_STORE_PROV_SYSTEM_REGISTRY_W, 0, None, flags, "Root")
    try:
        yield store
    finally:
        CertCloseStore(store, 0)


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except Win32Error as error:
        kind = PermissionError if error.code == ERROR_ACCESS_DENIED else OSError
        raise kind(0, str(error)) from error
