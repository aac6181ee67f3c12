"""A driver signed for test machines: the signature fits the file, the file is the same driver, and a change shows."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build/driver"

pytestmark = [
    pytest.mark.skipif(shutil.which("osslsigncode") is None, reason="osslsigncode is not installed"),
    pytest.mark.skipif(not (BUILT / "x64/pointsman.sys").exists(), reason="`make driver` has not run"),
]


def verify(driver: Path, certificate: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["osslsigncode", "verify", "-CAfile", str(certificate), "-in", str(driver)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def checksum(image: bytes) -> int:
    """As the loader of Windows checks it: the 16-bit words added up, carries too, and the size of the file."""
    words = struct.unpack(f"<{len(image) // 2}H", image) if len(image) % 2 == 0 else ()
    assert words, "a signed image has an even size"
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total + len(image)


def test_both_images_carry_a_signature_that_fits_and_a_checksum_that_is_right(tmp_path: Path) -> None:
    for architecture in ("x64", "arm64"):
        (tmp_path / architecture).mkdir()
        shutil.copy(BUILT / architecture / "pointsman.sys", tmp_path / architecture)
    subprocess.run([sys.executable, str(ROOT / "tools/sign_for_tests.py"), str(tmp_path)], check=True)
    certificate = tmp_path / "test-certificate.pem"
    der = tmp_path / "test-certificate.cer"
    subprocess.run(["openssl", "x509", "-inform", "DER", "-in", str(der), "-out", str(certificate)], check=True)

    for architecture in ("x64", "arm64"):
        driver = tmp_path / architecture / "pointsman.sys"
        result = verify(driver, certificate)
        assert "Signature verification: ok" in result.stdout, result.stdout + result.stderr
        assert "Page hash" in result.stdout
        image = driver.read_bytes()
        at = struct.unpack_from("<I", image, 0x3C)[0] + 24 + 64  # the optional header's CheckSum
        assert struct.unpack_from("<I", image, at)[0] == checksum(image[:at] + bytes(4) + image[at + 4 :])

    changed = bytearray(driver.read_bytes())
    changed[0x1000] ^= 1
    driver.write_bytes(changed)
    assert "Signature verification: ok" not in verify(driver, certificate).stdout
    assert not list(tmp_path.rglob("*key*"))
