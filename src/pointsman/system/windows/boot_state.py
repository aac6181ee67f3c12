"""How this Windows was started and what its kernel has loaded, by NtQuerySystemInformation.

Decides nothing: `operate.signing` says what the state means for a driver.  A class that this system does not know gives
None (Wine knows few).  Source of the layouts: ntexapi.h of System Informer's phnt.
"""

from __future__ import annotations

import ctypes
import struct

from pointsman.system.host import CodeIntegrity, WindowsBuild
from pointsman.system.windows import _ntdll as nt
from pointsman.system.windows import registry
from pointsman.system.windows._library import DWORD

SECURE_BOOT_KEY = r"SYSTEM\CurrentControlSet\Control\SecureBoot\State"
PRODUCT_WORKSTATION = 1
MODULE_SIZE = 296
MODULE_PATH = 40
MODULES_ROOM = 1 << 20  # bytes: 3,500 modules
MODULES_MOST = 16 << 20


def build() -> WindowsBuild:
    version = nt.RTL_OSVERSIONINFOEXW(ctypes.sizeof(nt.RTL_OSVERSIONINFOEXW))
    nt.RtlGetVersion(ctypes.byref(version))
    return WindowsBuild(
        version.dwMajorVersion, version.dwMinorVersion, version.dwBuildNumber,
        version.wProductType != PRODUCT_WORKSTATION,
    )  # fmt: skip


def code_integrity() -> CodeIntegrity | None:
    answer = nt.SYSTEM_CODEINTEGRITY_INFORMATION(Length=ctypes.sizeof(nt.SYSTEM_CODEINTEGRITY_INFORMATION))
    size = ctypes.sizeof(answer)
    status = nt.NtQuerySystemInformation(nt.SYSTEM_CODE_INTEGRITY_INFORMATION, ctypes.byref(answer), size, None)
    return None if status else CodeIntegrity(answer.CodeIntegrityOptions)


def secure_boot() -> bool | None:
    """By the registry, as msinfo32 has it; by the kernel where that is silent (older builds)."""
    value = registry.read(SECURE_BOOT_KEY, "UEFISecureBootEnabled")
    if isinstance(value, int):
        return bool(value)
    answer = (ctypes.c_uint8 * 2)()
    status = nt.NtQuerySystemInformation(nt.SYSTEM_SECURE_BOOT_INFORMATION, ctypes.byref(answer), 2, None)
    return None if status else bool(answer[0])


def loaded_modules() -> list[str] | None:
    room = MODULES_ROOM
    while room <= MODULES_MOST:
        buffer, needed = ctypes.create_string_buffer(room), DWORD()
        status = nt.NtQuerySystemInformation(nt.SYSTEM_MODULE_INFORMATION, buffer, room, ctypes.byref(needed))
        if status == 0:
            return module_paths(buffer.raw)
        if status != nt.STATUS_INFO_LENGTH_MISMATCH:
            return None
        room *= 4
    return None


def module_paths(data: bytes) -> list[str]:
    """From the bytes of class 11; entries beyond the end are left out."""
    (count,) = struct.unpack_from("<I", data)
    paths = []
    for index in range(min(count, (len(data) - 8) // MODULE_SIZE)):
        start = 8 + index * MODULE_SIZE + MODULE_PATH
        paths.append(data[start : start + 256].split(b"\0")[0].decode("mbcs" if _has_mbcs() else "latin-1", "replace"))
    return paths


def _has_mbcs() -> bool:
    """The kernel's names are in the ANSI code page, a codec that only Windows' Python has."""
    try:
        "".encode("mbcs")
    except LookupError:
        return False
    return True
