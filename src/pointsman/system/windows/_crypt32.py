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


CERT_CHAIN_POLICY_SSL = 4
AUTHTYPE_SERVER = 2
CHAIN_CACHE_ONLY_URL_RETRIEVAL = 4  # CERT_CHAIN_CACHE_ONLY_URL_RETRIEVAL: nothing is fetched from the network
HCCE_LOCAL_MACHINE = 1  # in place of a handle


class CERT_TRUST_STATUS(ctypes.Structure):
    _fields_ = [("dwErrorStatus", DWORD), ("dwInfoStatus", DWORD)]


class CERT_CHAIN_CONTEXT(ctypes.Structure):
    """Its first fields; the rest is not looked at."""

    _fields_ = [("cbSize", DWORD), ("TrustStatus", CERT_TRUST_STATUS)]


class CERT_CHAIN_PARA(ctypes.Structure):
    """As before Windows XP, which `cbSize` says: any usage, no time-outs."""

    _fields_ = [("cbSize", DWORD), ("dwType", DWORD), ("cUsageIdentifier", DWORD), ("rgpszUsageIdentifier", POINTER)]


class SSL_EXTRA_CERT_CHAIN_POLICY_PARA(ctypes.Structure):
    _fields_ = [("cbSize", DWORD), ("dwAuthType", DWORD), ("fdwChecks", DWORD), ("pwszServerName", WIDE)]


class CERT_CHAIN_POLICY_PARA(ctypes.Structure):
    _fields_ = [("cbSize", DWORD), ("dwFlags", DWORD), ("pvExtraPolicyPara", POINTER)]


class CERT_CHAIN_POLICY_STATUS(ctypes.Structure):
    _fields_ = [
        ("cbSize", DWORD),
        ("dwError", DWORD),
        ("lChainIndex", ctypes.c_int32),
        ("lElementIndex", ctypes.c_int32),
        ("pvExtraPolicyStatus", POINTER),
    ]


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

CertCreateCertificateContext = Function(
    "crypt32", "CertCreateCertificateContext", HANDLE, DWORD, POINTER, DWORD, check=nonzero
)
"""encoding, DER, size"""

CertGetCertificateChain = Function(
    "crypt32", "CertGetCertificateChain", BOOL, HANDLE, HANDLE, POINTER, HANDLE, POINTER, DWORD, POINTER, POINTER,
    check=nonzero,
)  # fmt: skip
"""engine, certificate, FILETIME* (NULL: now), more certificates, CERT_CHAIN_PARA*, flags, reserved, chain**"""

CertVerifyCertificateChainPolicy = Function(
    "crypt32", "CertVerifyCertificateChainPolicy", BOOL, POINTER, HANDLE, POINTER, POINTER, check=nonzero
)
"""policy (a number in a pointer), chain, CERT_CHAIN_POLICY_PARA*, CERT_CHAIN_POLICY_STATUS*"""

CertFreeCertificateChain = Function("crypt32", "CertFreeCertificateChain", None, HANDLE)
