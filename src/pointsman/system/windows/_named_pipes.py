"""Named pipes and the security descriptor on them, 1:1 (namedpipeapi.h, fileapi.h, sddl.h).  A failed call raises
Win32Error; otherwise no logic."""

from __future__ import annotations

import ctypes

from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, WIDE, Function, nonzero, valid_handle

PIPE_ACCESS_DUPLEX = 3
FILE_FLAG_FIRST_PIPE_INSTANCE = 0x0008_0000
PIPE_TYPE_BYTE = 0
PIPE_WAIT = 0
PIPE_REJECT_REMOTE_CLIENTS = 8
SECURITY_SQOS_PRESENT = 0x0010_0000
SECURITY_IDENTIFICATION = 0x0001_0000
SDDL_REVISION_1 = 1
ERROR_BROKEN_PIPE = 109
ERROR_PIPE_BUSY = 231
ERROR_PIPE_CONNECTED = 535


class SECURITY_ATTRIBUTES(ctypes.Structure):
    _fields_ = [("nLength", DWORD), ("lpSecurityDescriptor", POINTER), ("bInheritHandle", BOOL)]


CreateNamedPipeW = Function(
    "kernel32", "CreateNamedPipeW", HANDLE,
    WIDE, DWORD, DWORD, DWORD, DWORD, DWORD, DWORD, POINTER, check=valid_handle,
)  # fmt: skip
"""name, open mode, pipe mode, instances, out size, in size, default timeout, SECURITY_ATTRIBUTES*"""

ConnectNamedPipe = Function("kernel32", "ConnectNamedPipe", BOOL, HANDLE, POINTER, check=nonzero)
DisconnectNamedPipe = Function("kernel32", "DisconnectNamedPipe", BOOL, HANDLE, check=nonzero)
WaitNamedPipeW = Function("kernel32", "WaitNamedPipeW", BOOL, WIDE, DWORD, check=nonzero)
"""name, milliseconds"""

ReadFile = Function("kernel32", "ReadFile", BOOL, HANDLE, POINTER, DWORD, POINTER, POINTER, check=nonzero)
"""file, buffer, size, DWORD* read, overlapped"""

WriteFile = Function("kernel32", "WriteFile", BOOL, HANDLE, POINTER, DWORD, POINTER, POINTER, check=nonzero)
"""file, buffer, size, DWORD* written, overlapped"""

FlushFileBuffers = Function("kernel32", "FlushFileBuffers", BOOL, HANDLE, check=nonzero)
GetNamedPipeServerProcessId = Function("kernel32", "GetNamedPipeServerProcessId", BOOL, HANDLE, POINTER, check=nonzero)
"""pipe, DWORD* pid"""

ConvertStringSecurityDescriptorToSecurityDescriptorW = Function(
    "advapi32", "ConvertStringSecurityDescriptorToSecurityDescriptorW", BOOL,
    WIDE, DWORD, POINTER, POINTER, check=nonzero,
)  # fmt: skip
"""SDDL, revision, PSECURITY_DESCRIPTOR* (to be freed by LocalFree), DWORD* size"""

LocalFree = Function("kernel32", "LocalFree", POINTER, POINTER)
