"""Will this Windows load this driver file, said beforehand: signature, test-signing, Secure Boot, memory integrity.

Pure: what the host says comes in as values.  A forecast stops nobody: Windows has the last word at the start.
Source: "Driver Signing", "The TESTSIGNING Boot Configuration Option", "Implement HVCI compatible code", driver docs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pointsman.operate.image import DriverImage
from pointsman.system.host import CodeIntegrity

TRUST_E_NOSIGNATURE = 0x800B_0100
CERT_E_EXPIRED = 0x800B_0101
CERT_E_UNTRUSTEDROOT = 0x800B_0109
CERT_E_REVOKED = 0x800B_010C
TRUST_E_EXPLICIT_DISTRUST = 0x800B_0111
TRUST_E_BAD_DIGEST = 0x8009_6010

_MEANING = {
    0: "signed, and the signer is trusted here",
    TRUST_E_NOSIGNATURE: "not signed",
    CERT_E_EXPIRED: "signed with a certificate that has expired",
    CERT_E_UNTRUSTEDROOT: "signed with a test certificate (its root is not trusted here)",
    CERT_E_REVOKED: "signed with a revoked certificate",
    TRUST_E_EXPLICIT_DISTRUST: "signed by someone whom this machine distrusts",
    TRUST_E_BAD_DIGEST: "changed after it was signed",
}
_TEST_SIGNED = {CERT_E_UNTRUSTEDROOT, 0x800B_010A}  # the second: a chain that cannot be built


@dataclass(frozen=True, slots=True)
class BootState:
    """How this Windows was started; None where it does not say."""

    code_integrity: CodeIntegrity | None
    secure_boot: bool | None
    server: bool = False

    def has(self, option: CodeIntegrity) -> bool:
        return self.code_integrity is not None and bool(self.code_integrity & option)


@dataclass(frozen=True, slots=True)
class Forecast:
    loads: bool | None
    """None: it cannot be told beforehand."""
    signature: str
    notes: tuple[str, ...] = ()
    do: str | None = None
    """What would make it load."""
    facts: dict[str, bool | None] = field(default_factory=dict)


def signature_text(code: int) -> str:
    return _MEANING.get(code, f"its signature could not be verified (0x{code:08X})")


def forecast(image: DriverImage, signature: int, boot: BootState) -> Forecast:
    """`signature` as `Host.signature` has it."""
    notes: list[str] = []
    if boot.has(CodeIntegrity.MEMORY_INTEGRITY):
        notes.append("memory integrity is on: it wants a signature in any case, and no code that can be written")
    if boot.has(CodeIntegrity.TEST_SIGNING):
        notes.append("test-signing is on")
    if boot.secure_boot:
        notes.append("Secure Boot is on: test-signing cannot be switched on, or does not count")
    if boot.has(CodeIntegrity.WHQL_ONLY):
        notes.append("this machine loads WHQL-signed drivers only")
    loads, do = _verdict(image, signature, boot)
    if signature == 0 and boot.server:
        notes.append("Windows Server does not load a driver that was only attestation-signed; it needs WHQL")
    facts = {
        "test_signing": _known(boot, CodeIntegrity.TEST_SIGNING),
        "memory_integrity": _known(boot, CodeIntegrity.MEMORY_INTEGRITY),
        "integrity_enforced": _known(boot, CodeIntegrity.ENABLED),
        "secure_boot": boot.secure_boot,
    }
    return Forecast(loads, signature_text(signature), tuple(notes), do, facts)


def _verdict(image: DriverImage, signature: int, boot: BootState) -> tuple[bool | None, str | None]:
    """Does it load, and what would make it."""
    if image.writable_code and boot.has(CodeIntegrity.MEMORY_INTEGRITY):
        return False, "install a release whose sections are not writable and executable at once"
    if boot.code_integrity is not None and not boot.code_integrity & CodeIntegrity.ENABLED:
        return True, None  # a kernel debugger, or an operator, has switched the check off
    if signature == 0:
        # A chain that user mode trusts may still end in no Microsoft root: then the kernel refuses it.
        strict = boot.server or boot.has(CodeIntegrity.WHQL_ONLY)
        return (None, "install a WHQL-signed release") if strict else (True, None)
    if signature in _TEST_SIGNED:
        return _test_signed(boot)
    if signature == TRUST_E_NOSIGNATURE:
        return False, "install a signed release, or sign your build with a test certificate (docs/verification.md)"
    return False, "install the release again from its original file"


def _test_signed(boot: BootState) -> tuple[bool | None, str | None]:
    if boot.code_integrity is None:
        return None, "if it fails with error 577: bcdedit /set testsigning on, then restart"
    if boot.has(CodeIntegrity.TEST_SIGNING):
        return True, None
    if boot.secure_boot:
        return False, (
            "a test-signed driver and Secure Boot exclude each other: use a virtual machine, or switch Secure Boot off "
            "in the firmware (have the BitLocker recovery key at hand), then bcdedit /set testsigning on, then restart"
        )
    return False, "bcdedit /set testsigning on (as administrator), then restart"


def _known(boot: BootState, option: CodeIntegrity) -> bool | None:
    return None if boot.code_integrity is None else bool(boot.code_integrity & option)
