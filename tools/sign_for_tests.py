"""Sign pointsman.sys with a certificate made on the spot, for machines that run with test-signing on (docs/signing.md).

    python tools/sign_for_tests.py [DIRECTORY]     default: build/driver; needs osslsigncode (Debian's package)

Signs DIRECTORY/{x64,arm64}/pointsman.sys in place, SHA-256 with page hashes, and writes test-certificate.cer beside
them.  The key is forgotten when this ends.  A signature of this kind loads on no machine that has not been told to
accept any.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT = Path(__file__).resolve().parent.parent
LIFETIME = timedelta(days=90)


def certificate(key: RSAPrivateKey, now: datetime) -> x509.Certificate:
    """Self-signed, for code signing only."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pointsman test signing (not for production)")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=True)
        .sign(key, hashes.SHA256())
    )


def sign(directory: Path) -> list[Path]:
    """Returns the signed files."""
    key = generate_private_key(65537, 3072)
    made = certificate(key, datetime.now(UTC))
    signed = sorted(directory.glob("*/pointsman.sys"))
    with tempfile.TemporaryDirectory() as temporary:
        key_file, certificate_file = Path(temporary) / "key.pem", Path(temporary) / "certificate.pem"
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        for driver in signed:
            out = Path(temporary) / "signed.sys"
            subprocess.run(
                ["osslsigncode", "sign", "-h", "sha256", "-ph", "-certs", str(certificate_file), "-key", str(key_file),
                 "-n", "Pointsman driver", "-in", str(driver), "-out", str(out)],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            driver.write_bytes(out.read_bytes())
            out.unlink()
    (directory / "test-certificate.cer").write_bytes(made.public_bytes(serialization.Encoding.DER))
    return signed


def main() -> None:
    for driver in sign(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/driver"):
        print(driver)


if __name__ == "__main__":
    main()
