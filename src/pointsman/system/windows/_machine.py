"""What operations call besides services, 1:1: registry, tokens, signatures, sockets' owners, single runs.

advapi32 (winreg.h, securitybaseapi.h), kernel32 (wow64apiset.h, synchapi.h), wintrust, iphlpapi.
"""

from __future__ import annotations

import ctypes

from pointsman.system.windows._advapi32_accounts import TOKEN_QUERY as TOKEN_QUERY
from pointsman.system.windows._advapi32_accounts import GetTokenInformation as GetTokenInformation
from pointsman.system.windows._advapi32_accounts import OpenProcessToken as OpenProcessToken
from pointsman.system.windows._kernel32_processes import (
    PROCESS_QUERY_LIMITED_INFORMATION as PROCESS_QUERY_LIMITED_INFORMATION,
)
from pointsman.system.windows._kernel32_processes import GetProcessTimes as GetProcessTimes
from pointsman.system.windows._kernel32_processes import OpenProcess as OpenProcess
from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, WIDE, Function, nonzero, zero

HKEY_LOCAL_MACHINE = 0x8000_0002
RRF_RT_ANY = 0xFFFF
RRF_NOEXPAND = 0x1000_0000
KEY_ENUMERATE = 0x8 | 0x100  # KEY_ENUMERATE_SUB_KEYS | KEY_WOW64_64KEY
REG_SZ, REG_EXPAND_SZ, REG_BINARY, REG_DWORD, REG_MULTI_SZ, REG_QWORD = 1, 2, 3, 4, 7, 11
ERROR_MORE_DATA = 234
ERROR_NO_MORE_ITEMS = 259
TOKEN_ELEVATION = 20
WAIT_OBJECT_0, WAIT_ABANDONED = 0, 0x80
MOVEFILE_DELAY_UNTIL_REBOOT = 4
TCP_TABLE_OWNER_PID_LISTENER = 3

RegGetValueW = Function(
    "advapi32", "RegGetValueW", DWORD, HANDLE, WIDE, WIDE, DWORD, POINTER, POINTER, POINTER, check=zero
)
"""key, subkey, value, flags, DWORD* type, data, DWORD* size"""

RegOpenKeyExW = Function("advapi32", "RegOpenKeyExW", DWORD, HANDLE, WIDE, DWORD, DWORD, POINTER, check=zero)
"""key, subkey, options, access, HANDLE* opened"""

RegEnumKeyExW = Function(
    "advapi32", "RegEnumKeyExW", DWORD,
    HANDLE, DWORD, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, check=zero,
)  # fmt: skip
"""key, index, name, DWORD* characters, reserved, class, class size, last write"""

RegCloseKey = Function("advapi32", "RegCloseKey", DWORD, HANDLE, check=zero)
IsWow64Process2 = Function("kernel32", "IsWow64Process2", BOOL, HANDLE, POINTER, POINTER, check=nonzero)
"""process, USHORT* its machine, USHORT* native machine"""

GetCurrentProcess = Function("kernel32", "GetCurrentProcess", HANDLE)
CreateMutexW = Function("kernel32", "CreateMutexW", HANDLE, POINTER, BOOL, WIDE, check=nonzero)
"""security, owned, name"""

WaitForSingleObject = Function("kernel32", "WaitForSingleObject", DWORD, HANDLE, DWORD)
ReleaseMutex = Function("kernel32", "ReleaseMutex", BOOL, HANDLE, check=nonzero)
MoveFileExW = Function("kernel32", "MoveFileExW", BOOL, WIDE, WIDE, DWORD, check=nonzero)
"""from, to (NULL: delete), flags"""

GetExtendedTcpTable = Function(
    "iphlpapi", "GetExtendedTcpTable", DWORD, POINTER, POINTER, BOOL, DWORD, DWORD, DWORD, check=zero
)
"""table, DWORD* size, sorted, family, class, reserved"""


class WINTRUST_FILE_INFO(ctypes.Structure):
    _fields_ = [("cbStruct", DWORD), ("pcwszFilePath", WIDE), ("hFile", HANDLE), ("pgKnownSubject", POINTER)]


class WINTRUST_DATA(ctypes.Structure):
    _fields_ = [
        ("cbStruct", DWORD),
        ("pPolicyCallbackData", POINTER),
        ("pSIPClientData", POINTER),
        ("dwUIChoice", DWORD),
        ("fdwRevocationChecks", DWORD),
        ("dwUnionChoice", DWORD),
        ("pFile", POINTER),
        ("dwStateAction", DWORD),
        ("hWVTStateData", HANDLE),
        ("pwszURLReference", POINTER),
        ("dwProvFlags", DWORD),
        ("dwUIContext", DWORD),
        ("pSignatureSettings", POINTER),
    ]


WinVerifyTrust = Function("wintrust", "WinVerifyTrust", DWORD, HANDLE, POINTER, POINTER)
"""window, GUID* action, WINTRUST_DATA*; returns its answer"""
