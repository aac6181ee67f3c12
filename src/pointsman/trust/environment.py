"""The environment of a child that trusts our certificate authority, whatever TLS library it has.

Most libraries take a file of roots from a variable, and that file *replaces* the system's, so the bundle written here
is the system's roots and ours together.  Variables that are already set are overridden, for a bundle of the user's
would hide ours. What reads no variable at all (Firefox, Chromium's own store) is not reached; `pointsman ca report`
says what to do for those.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from pointsman.errors import Exit, PointsmanError

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)
BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL: Python, Ruby, PHP, curl where built so; Go; Rust's native-certs
    "CURL_CA_BUNDLE",  # curl, requests
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "DENO_CERT",
    "BUNDLE_SSL_CA_CERT",  # Ruby's bundler
    "HEX_CACERTS_PATH",  # Elixir
    "SYSTEM_CERTIFICATE_PATH",  # Haskell's tls
    "HTTPLIB2_CA_CERTS",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
)
MAX_SETTINGS = 1 << 20  # bytes of a wgetrc
JAVA_STORE_WORD = "changeit"  # Java's own for its roots: it guards nothing, but a store without one is not read


def trust_environment(
    directory: Path, roots: Sequence[bytes], *, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Write `bundle.pem`, `wgetrc` and, where there is a Java, `roots.p12` into `directory`.

    Returns the variables to add to a child's environment.

    Args:
        roots: PEM certificates: our root, and those of private upstreams.
        environment: what the child would have without them; this process's if None.

    Raises:
        PointsmanError: the files cannot be written (PM508).
    """
    given = os.environ if environment is None else environment
    bundle, wgetrc = directory / "bundle.pem", directory / "wgetrc"
    try:
        pem = b"\n".join([_system_roots(), *(root.strip() for root in roots)]) + b"\n"
        bundle.write_bytes(pem)
        # GnuTLS has no variable for roots, so wget is told by its own file, after the user's own settings.
        wgetrc.write_bytes(_user_wgetrc(given) + f"\nca_certificate = {bundle}\n".encode())
        java = _java_options(directory / "roots.p12", pem, given) if shutil.which("java") else {}
    except OSError as error:
        raise PointsmanError(
            "cannot write the roots for the command to trust",
            code="PM508", seen=f"{error.filename}: {error.strerror}", effect="the command was not started",
            do=f"make {directory} writable, with some space, or name another place", status=Exit.BAD_FILE,
        ) from error  # fmt: skip
    # SSL_CERT_DIR is left alone: OpenSSL reads it beside SSL_CERT_FILE, not instead.
    return {**dict.fromkeys(BUNDLE_VARIABLES, str(bundle)), "WGETRC": str(wgetrc), **java}


def _java_options(path: Path, pem: bytes, given: Mapping[str, str]) -> dict[str, str]:
    """A Java virtual machine takes a store of its own kind, and options from a variable (which it says it does)."""
    protection = serialization.BestAvailableEncryption(JAVA_STORE_WORD.encode())
    path.write_bytes(pkcs12.serialize_java_truststore(list(_certificates(pem)), protection))
    options = (
        f"-Djavax.net.ssl.trustStore={path} -Djavax.net.ssl.trustStoreType=PKCS12"
        f" -Djavax.net.ssl.trustStorePassword={JAVA_STORE_WORD}"
    )
    return {"JAVA_TOOL_OPTIONS": f"{given.get('JAVA_TOOL_OPTIONS', '')} {options}".strip()}


def _certificates(pem: bytes) -> Iterator[pkcs12.PKCS12Certificate]:
    """Those that can be read: systems carry old roots that today's rules do not allow."""
    with warnings.catch_warnings(action="ignore"):
        for block in re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", pem, re.DOTALL):
            with suppress(ValueError):
                yield pkcs12.PKCS12Certificate(x509.load_pem_x509_certificate(block), None)


def _system_roots() -> bytes:
    """Never those of SSL_CERT_FILE and its like: they may be another tool's, or our own of an outer lab."""
    for path in (ssl.get_default_verify_paths().openssl_cafile, *SYSTEM_BUNDLES):
        try:
            found = Path(path).read_bytes().strip()
        except OSError:
            continue  # another distribution's place
        if b"-----BEGIN" in found:
            return found
    return b""  # a machine without roots: then the lab's own are all there is to trust


def _user_wgetrc(environment: Mapping[str, str]) -> bytes:
    """What wget would have read: the file WGETRC names, else ~/.wgetrc (wget reads the system's in any case)."""
    own = environment.get("WGETRC") or os.path.join(environment.get("HOME") or os.path.expanduser("~"), ".wgetrc")
    try:
        with open(own, "rb") as file:
            return file.read(MAX_SETTINGS)
    except OSError:
        return b""  # most users have none
