"""advapi32.dll, 1:1: tokens and accounts (securitybaseapi.h, winbase.h).

A failed call raises Win32Error; otherwise no logic.
"""

from __future__ import annotations

import ctypes

from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, WIDE, Function, nonzero

TOKEN_QUERY = 8
TOKEN_USER_CLASS = 1
TOKEN_GROUPS_CLASS = 2
SE_GROUP_ENABLED = 0x4
SE_GROUP_USE_FOR_DENY_ONLY = 0x10
SID_TYPE_USER = 1
SID_TYPE_WELL_KNOWN_GROUP = 5


class SID_AND_ATTRIBUTES(ctypes.Structure):
    _fields_ = [("Sid", POINTER), ("Attributes", DWORD)]


OpenProcessToken = Function("advapi32", "OpenProcessToken", BOOL, HANDLE, DWORD, POINTER, check=nonzero)
"""process, access, HANDLE* token"""

GetTokenInformation = Function(
    "advapi32", "GetTokenInformation", BOOL, HANDLE, DWORD, POINTER, DWORD, POINTER, check=nonzero
)
"""token, class, buffer, size, DWORD* needed"""

LookupAccountSidW = Function(
    "advapi32", "LookupAccountSidW", BOOL, WIDE, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, check=nonzero
)
"""machine, sid, name, DWORD* characters, domain, DWORD* characters, SID_NAME_USE*"""

LookupAccountNameW = Function(
    "advapi32", "LookupAccountNameW", BOOL, WIDE, WIDE, POINTER, POINTER, POINTER, POINTER, POINTER, check=nonzero
)
"""machine, account, sid, DWORD* bytes, domain, DWORD* characters, SID_NAME_USE*"""
