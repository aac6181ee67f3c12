"""kernel32.dll, 1:1 (fileapi.h, ioapiset.h, handleapi.h).  A failed call raises Win32Error; otherwise no logic."""

from __future__ import annotations

from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, WIDE, Function, nonzero, valid_handle

GENERIC_READ = 0x8000_0000
GENERIC_WRITE = 0x4000_0000
FILE_SHARE_READ = 1
FILE_SHARE_WRITE = 2
OPEN_EXISTING = 3

CreateFileW = Function(
    "kernel32", "CreateFileW", HANDLE,
    WIDE, DWORD, DWORD, POINTER, DWORD, DWORD, HANDLE, check=valid_handle,
)  # fmt: skip
"""name, access, share, security, disposition, flags, template"""

DeviceIoControl = Function(
    "kernel32", "DeviceIoControl", BOOL,
    HANDLE, DWORD, POINTER, DWORD, POINTER, DWORD, POINTER, POINTER, check=nonzero,
)  # fmt: skip
"""device, code, in, in size, out, out size, DWORD* written, overlapped"""

CloseHandle = Function("kernel32", "CloseHandle", BOOL, HANDLE, check=nonzero)
