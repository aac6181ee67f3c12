"""advapi32.dll, 1:1: security descriptors (sddl.h, aclapi.h).  A failed call raises Win32Error; otherwise no logic."""

from __future__ import annotations

from pointsman.system.windows._library import BOOL, DWORD, HANDLE, POINTER, WIDE, Function, nonzero, zero

SDDL_REVISION_1 = 1
SE_FILE_OBJECT = 1
OWNER_SECURITY_INFORMATION = 1
DACL_SECURITY_INFORMATION = 4
PROTECTED_DACL_SECURITY_INFORMATION = 0x8000_0000

ConvertStringSecurityDescriptorToSecurityDescriptorW = Function(
    "advapi32", "ConvertStringSecurityDescriptorToSecurityDescriptorW", BOOL,
    WIDE, DWORD, POINTER, POINTER, check=nonzero,
)  # fmt: skip
"""SDDL, revision, descriptor*: freed by LocalFree, size*"""

GetSecurityDescriptorDacl = Function(
    "advapi32", "GetSecurityDescriptorDacl", BOOL, HANDLE, POINTER, POINTER, POINTER, check=nonzero
)
"""descriptor, present*, acl*: within the descriptor, defaulted*"""

SetNamedSecurityInfoW = Function(
    "advapi32", "SetNamedSecurityInfoW", DWORD, WIDE, DWORD, DWORD, HANDLE, HANDLE, HANDLE, HANDLE, check=zero
)
"""name, kind of object, what is set, owner, group, DACL, SACL; returns its error"""

GetNamedSecurityInfoW = Function(
    "advapi32", "GetNamedSecurityInfoW", DWORD, WIDE, DWORD, DWORD, POINTER, POINTER, POINTER, POINTER, POINTER,
    check=zero,
)  # fmt: skip
"""name, kind of object, what is asked, owner**, group**, DACL**, SACL**, descriptor**: freed by LocalFree"""
