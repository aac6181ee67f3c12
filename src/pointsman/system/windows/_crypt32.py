"""crypt32.dll, 1:1 (dpapi.h, wincrypt.h).  A failed call raises Win32Error; otherwise no logic."""

from __future__ import annotations

import ctypes

from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, WIDE, Function, nonzero

CRYPTPROTECT_UI_FORBIDDEN = 1
CRYPTPROTECT_LOCAL_MACHINE = 4
CERT_STORE_PROV_SYSTEM_REGISTRY_W = 13
CERT_SYSTEM_STORE_CURRENT_USER = 0x1_0000
CERT_SYSTEM_STORE_LOCAL_MACHINE = 0x2_0000
CERT_STORE_OPEN_EXISTING_FLAG = 0x4000
CERT_STORE_READONLY_FLAG = 0x8000
CERT_STORE_ADD_REPLACE_EXISTING = 3
X509_ASN_ENCODING = 1
PKCS_7_ASN_ENCODING = 0x1_0000
ENCODINGS = X509_ASN_ENCODING | PKCS_7_ASN_ENCODING
CERT_FIND_SHA1_HASH = 0x1_0000
CRYPT_E_NOT_FOUND = 0x8009_2004


class DATA_BLOB(ctypes.Structure):
    _fields_ = [("cbData", DWORD), ("pbData", POINTER)]


CryptProtectData = Function(
    "crypt32", "CryptProtectData", BOOL, POINTER, WIDE, POINTER, POINTER, POINTER, DWORD, POINTER, check=nonzero
)
"""in blob, description, entropy blob, reserved, prompt, flags, out blob: its data is freed by LocalFree"""

CryptUnprotectData = Function(
    "crypt32", "CryptUnprotectData", BOOL, POINTER, POINTER, POINTER, POINTER, POINTER, DWORD, POINTER, check=nonzero
)
"""in blob, description*, entropy blob, reserved, prompt, flags, out blob: its data is freed by LocalFree"""

LocalFree = Function("kernel32", "LocalFree", HANDLE, HANDLE)

CertOpenStore = Function("crypt32", "CertOpenStore", HANDLE, POINTER, DWORD, HANDLE, DWORD, WIDE, check=nonzero)
"""provider (a number in a pointer), encoding, crypt provider, flags, name"""

CertAddEncodedCertificateToStore = Function(
    "crypt32", "CertAddEncodedCertificateToStore", BOOL, HANDLE, DWORD, POINTER, DWORD, DWORD, POINTER, check=nonzero
)
"""store, encoding, DER, size, disposition, context*"""

CertFindCertificateInStore = Function(
    "crypt32", "CertFindCertificateInStore", HANDLE, HANDLE, DWORD, DWORD, DWORD, POINTER, HANDLE, check=nonzero
)
"""store, encoding, flags, what to look for, blob, previous context"""

CertDeleteCertificateFromStore = Function("crypt32", "CertDeleteCertificateFromStore", BOOL, HANDLE, check=nonzero)
"""context: freed in any case"""

CertFreeCertificateContext = Function("crypt32", "CertFreeCertificateContext", BOOL, HANDLE)
CertCloseStore = Function("crypt32", "CertCloseStore", BOOL, HANDLE, DWORD, check=nonzero)
