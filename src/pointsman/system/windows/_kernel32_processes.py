"""What kernel32.dll and ntdll.dll tell of processes, 1:1 (processthreadsapi.h, winbase.h, psapi.h, winternl.h).

A failed call raises Win32Error; otherwise no logic.
"""

from __future__ import annotations

import ctypes

from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, Function, nonzero, zero

PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
PROCESS_BASIC_INFORMATION_CLASS = 0


class PROCESS_BASIC_INFORMATION(ctypes.Structure):
    _fields_ = [
        ("ExitStatus", ctypes.c_int32),
        ("PebBaseAddress", POINTER),
        ("AffinityMask", ctypes.c_size_t),
        ("BasePriority", ctypes.c_int32),
        ("UniqueProcessId", ctypes.c_size_t),
        ("InheritedFromUniqueProcessId", ctypes.c_size_t),
    ]


OpenProcess = Function("kernel32", "OpenProcess", HANDLE, DWORD, BOOL, DWORD, check=nonzero)
"""access, inherit, process id"""

QueryFullProcessImageNameW = Function(
    "kernel32", "QueryFullProcessImageNameW", BOOL, HANDLE, DWORD, POINTER, POINTER, check=nonzero
)
"""process, flags, buffer, DWORD* characters"""

GetProcessTimes = Function(
    "kernel32", "GetProcessTimes", BOOL, HANDLE, POINTER, POINTER, POINTER, POINTER, check=nonzero
)
"""process, FILETIME* creation, exit, kernel, user"""

K32EnumProcesses = Function("kernel32", "K32EnumProcesses", BOOL, POINTER, DWORD, POINTER, check=nonzero)
"""DWORD* ids, size of the buffer, DWORD* bytes written"""

GetSystemTimeAsFileTime = Function("kernel32", "GetSystemTimeAsFileTime", None, POINTER)

NtQueryInformationProcess = Function(
    "ntdll", "NtQueryInformationProcess", ctypes.c_int32, HANDLE, DWORD, POINTER, DWORD, POINTER, check=zero
)
"""process, class, buffer, size, DWORD* needed; an NTSTATUS"""
