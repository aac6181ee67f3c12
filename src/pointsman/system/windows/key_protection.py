"""A secret on a Windows disk: wrapped by DPAPI for this machine, in a directory that few can open.

Everybody on the machine may ask DPAPI to unwrap it, so that alone protects against a disk that is carried away; the
access list of the directory is what protects against other users (windows-user-space.md 6.3).
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from pointsman.system.windows._advapi32_security import (
    DACL_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION,
    SDDL_REVISION_1,
    SE_FILE_OBJECT,
    ConvertStringSecurityDescriptorToSecurityDescriptorW,
    GetSecurityDescriptorDacl,
    SetNamedSecurityInfoW,
)
from pointsman.system.windows._crypt32 import (
    CRYPTPROTECT_LOCAL_MACHINE,
    CRYPTPROTECT_UI_FORBIDDEN,
    DATA_BLOB,
    CryptProtectData,
    CryptUnprotectData,
    LocalFree,
)
from pointsman.system.windows._library import DWORD, HANDLE, Function, Win32Error

MAGIC = b"pointsman dpapi 1\n"
_ENTROPY = b"pointsman: key of the certificate authority"
_FLAGS = CRYPTPROTECT_UI_FORBIDDEN | CRYPTPROTECT_LOCAL_MACHINE
# SYSTEM, Administrators, and whoever made it; inherited by what is put into it, and nothing inherited from above.
DIRECTORY_SDDL = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)"


class Dpapi:
    """Implements `authority.root_store.KeyProtection`."""

    def protect_directory(self, directory: Path) -> None:
        descriptor, acl, present, defaulted = HANDLE(), HANDLE(), DWORD(), DWORD()
        try:
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                DIRECTORY_SDDL, SDDL_REVISION_1, ctypes.byref(descriptor), None
            )
            try:
                GetSecurityDescriptorDacl(descriptor, ctypes.byref(present), ctypes.byref(acl), ctypes.byref(defaulted))
                SetNamedSecurityInfoW(
                    str(directory), SE_FILE_OBJECT,
                    DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION, None, None, acl, None,
                )  # fmt: skip
            finally:
                LocalFree(descriptor)
        except Win32Error as error:
            raise OSError(0, str(error), str(directory)) from error

    def wrap(self, secret: bytes) -> bytes:
        return MAGIC + _crypt(CryptProtectData, secret)

    def unwrap(self, stored: bytes) -> bytes:
        return _crypt(CryptUnprotectData, stored.removeprefix(MAGIC)) if stored.startswith(MAGIC) else stored


def _crypt(function: Function, data: bytes) -> bytes:
    given, entropy, result = _blob(data), _blob(_ENTROPY), DATA_BLOB()
    try:
        function(ctypes.byref(given), None, ctypes.byref(entropy), None, None, _FLAGS, ctypes.byref(result))
    except Win32Error as error:
        raise OSError(0, str(error)) from error
    try:
        return ctypes.string_at(result.pbData, result.cbData)
    finally:
        LocalFree(result.pbData)


def _blob(data: bytes) -> DATA_BLOB:
    """`data` must live as long as the blob is used."""
    return DATA_BLOB(len(data), ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p))
