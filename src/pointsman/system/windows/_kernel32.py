"""kernel32.dll, 1:1 (fileapi.h, ioapiset.h, winnls.h).  A failed call raises Win32Error; otherwise no logic."""

from __future__ import annotations

import ctypes

from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, WIDE, Function, nonzero, valid_handle

GENERIC_READ = 0x8000_0000
GENERIC_WRITE = 0x4000_0000
FILE_SHARE_READ = 1
FILE_SHARE_WRITE = 2
FILE_SHARE_DELETE = 4
OPEN_EXISTING = 3
FILE_FLAG_BACKUP_SEMANTICS = 0x0200_0000
VOLUME_NAME_NT = 2
LCMAP_LOWERCASE = 0x100
LOCALE_NAME_INVARIANT = ""

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

GetFinalPathNameByHandleW = Function(
    "kernel32", "GetFinalPathNameByHandleW", DWORD, HANDLE, POINTER, DWORD, DWORD, check=nonzero
)
"""file, buffer, characters, flags; returns the characters written, or needed if that is more"""

QueryDosDeviceW = Function("kernel32", "QueryDosDeviceW", DWORD, WIDE, POINTER, DWORD, check=nonzero)
"""device name, buffer, characters; returns the characters written"""

GetLogicalDrives = Function("kernel32", "GetLogicalDrives", DWORD, check=nonzero)

LCMapStringEx = Function(
    "kernel32", "LCMapStringEx", ctypes.c_int32,
    WIDE, DWORD, POINTER, ctypes.c_int32, POINTER, ctypes.c_int32, POINTER, POINTER, POINTER, check=nonzero,
)  # fmt: skip
"""locale, flags, source, characters, target, characters, version, reserved, sort handle"""
