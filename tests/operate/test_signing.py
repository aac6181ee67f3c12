"""The forecast: every combination of signature and boot state that an operator meets, and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pointsman.operate.image import MACHINE_AMD64, DriverImage
from pointsman.operate.signing import (
    CERT_E_EXPIRED,
    CERT_E_REVOKED,
    CERT_E_UNTRUSTEDROOT,
    TRUST_E_BAD_DIGEST,
    TRUST_E_NOSIGNATURE,
    BootState,
    forecast,
)
from pointsman.system.host import CodeIntegrity

IMAGE = DriverImage(MACHINE_AMD64, True, True, True, False, True, "0.1.0")
ON = CodeIntegrity.ENABLED
TEST = ON | CodeIntegrity.TEST_SIGNING
HVCI = ON | CodeIntegrity.MEMORY_INTEGRITY


@pytest.mark.parametrize(
    ("signature", "boot", "loads", "do"),
    [
        (0, BootState(ON, True), True, None),
        (0, BootState(ON, True, server=True), None, "WHQL"),
        (0, BootState(ON | CodeIntegrity.WHQL_ONLY, True), None, "WHQL"),
        (CERT_E_UNTRUSTEDROOT, BootState(TEST, False), True, None),
        (CERT_E_UNTRUSTEDROOT, BootState(TEST | HVCI, False), True, None),
        (CERT_E_UNTRUSTEDROOT, BootState(ON, False), False, "bcdedit /set testsigning on"),
        (CERT_E_UNTRUSTEDROOT, BootState(ON, True), False, "Secure Boot exclude each other"),
        (CERT_E_UNTRUSTEDROOT, BootState(None, None), None, "577"),
        (TRUST_E_NOSIGNATURE, BootState(TEST, False), False, "signed release"),
        (TRUST_E_NOSIGNATURE, BootState(CodeIntegrity.DEBUG_MODE, False), True, None),
        (TRUST_E_BAD_DIGEST, BootState(TEST, False), False, "original file"),
        (CERT_E_EXPIRED, BootState(ON, False), False, "original file"),
        (CERT_E_REVOKED, BootState(ON, False), False, "original file"),
    ],
)
def test_what_windows_will_do(signature: int, boot: BootState, loads: bool | None, do: str | None) -> None:
    outlook = forecast(IMAGE, signature, boot)

    assert outlook.loads is loads
    assert (do is None and outlook.do is None) or (do is not None and do in (outlook.do or ""))


def test_writable_code_does_not_load_under_memory_integrity() -> None:
    image = replace(IMAGE, writable_code=True)

    assert forecast(image, 0, BootState(HVCI, True)).loads is False
    assert forecast(image, 0, BootState(ON, True)).loads is True


def test_what_stands_in_the_way_is_named() -> None:
    outlook = forecast(IMAGE, CERT_E_UNTRUSTEDROOT, BootState(HVCI, True))

    assert any("memory integrity is on" in note for note in outlook.notes)
    assert any("Secure Boot is on" in note for note in outlook.notes)
    assert outlook.facts == {
        "test_signing": False, "memory_integrity": True, "integrity_enforced": True, "secure_boot": True,
    }  # fmt: skip


def test_a_signature_that_nobody_knows_is_told_by_its_code() -> None:
    assert "0x800B9999" in forecast(IMAGE, 0x800B_9999, BootState(ON, False)).signature
