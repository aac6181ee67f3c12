"""Would this machine, by its own rules, trust a certificate for a TLS server?  Nothing is fetched for the answer."""

from __future__ import annotations

import ctypes

from pointsman.system.host import ChainVerdict
from pointsman.system.windows import _crypt32 as api
from pointsman.system.windows._library import Win32Error, code_text


def verify(leaf: bytes, host: str) -> ChainVerdict:
    """`leaf`: DER.  By the machine's stores, not the user's.  Raises OSError: it could not be asked."""
    try:
        certificate = api.CertCreateCertificateContext(api.ENCODINGS, leaf, len(leaf))
        try:
            return _built(certificate, host)
        finally:
            api.CertFreeCertificateContext(certificate)
    except Win32Error as error:
        raise OSError(error.code, f"{error.call}: Windows error {code_text(error.code)}") from error


def _built(certificate: int, host: str) -> ChainVerdict:
    wanted = api.CERT_CHAIN_PARA(cbSize=ctypes.sizeof(api.CERT_CHAIN_PARA))
    chain = ctypes.c_void_p()
    api.CertGetCertificateChain(
        api.HCCE_LOCAL_MACHINE, certificate, None, None, ctypes.byref(wanted), api.CHAIN_CACHE_ONLY_URL_RETRIEVAL,
        None, ctypes.byref(chain),
    )  # fmt: skip
    assert chain.value is not None
    try:
        bits = api.CERT_CHAIN_CONTEXT.from_address(chain.value).TrustStatus.dwErrorStatus
        return ChainVerdict(_policy_error(chain, host), bits)
    finally:
        api.CertFreeCertificateChain(chain)


def _policy_error(chain: ctypes.c_void_p, host: str) -> int:
    server = api.SSL_EXTRA_CERT_CHAIN_POLICY_PARA(
        ctypes.sizeof(api.SSL_EXTRA_CERT_CHAIN_POLICY_PARA), api.AUTHTYPE_SERVER, 0, host
    )
    policy = api.CERT_CHAIN_POLICY_PARA(ctypes.sizeof(api.CERT_CHAIN_POLICY_PARA), 0, ctypes.addressof(server))
    status = api.CERT_CHAIN_POLICY_STATUS(cbSize=ctypes.sizeof(api.CERT_CHAIN_POLICY_STATUS))
    api.CertVerifyCertificateChainPolicy(api.CERT_CHAIN_POLICY_SSL, chain, ctypes.byref(policy), ctypes.byref(status))
    return int(status.dwError)
