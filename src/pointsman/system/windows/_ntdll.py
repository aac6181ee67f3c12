"""ntdll.dll, 1:1 (winternl.h, ntddk.h): what the system says of itself.  Each returns its NTSTATUS, unchecked."""

from __future__ import annotations

import ctypes

from pointsman.system.windows._library import DWORD, POINTER, Function

STATUS_INFO_LENGTH_MISMATCH = 0xC000_0004
SYSTEM_MODULE_INFORMATION = 11
SYSTEM_CODE_INTEGRITY_INFORMATION = 103
SYSTEM_SECURE_BOOT_INFORMATION = 145


class SYSTEM_CODEINTEGRITY_INFORMATION(ctypes.Structure):
    _fields_ = [("Length", DWORD), ("CodeIntegrityOptions", DWORD)]


class RTL_OSVERSIONINFOEXW(ctypes.Structure):
    _fields_ = [
        ("dwOSVersionInfoSize", DWORD),
        ("dwMajorVersion", DWORD),
        ("dwMinorVersion", DWORD),
        ("dwBuildNumber", DWORD),
        ("dwPlatformId", DWORD),
        ("szCSDVersion", ctypes.c_uint16 * 128),
        ("wServicePackMajor", ctypes.c_uint16),
        ("wServicePackMinor", ctypes.c_uint16),
        ("wSuiteMask", ctypes.c_uint16),
        ("wProductType", ctypes.c_uint8),
        ("wReserved", ctypes.c_uint8),
    ]


NtQuerySystemInformation = Function("ntdll", "NtQuerySystemInformation", DWORD, DWORD, POINTER, DWORD, POINTER)
"""class, buffer, size, DWORD* needed"""

RtlGetVersion = Function("ntdll", "RtlGetVersion", DWORD, POINTER)
"""RTL_OSVERSIONINFOEXW*: the true version, whatever the program's manifest says"""
