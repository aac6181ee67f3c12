"""Who may change what is in a folder, by its access list ([MS-DTYP] 2.4.5): decides which rights and which SIDs count.

A grant that a deny before it takes back is counted all the same: rather a name too many.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path

from pointsman.system.windows import _advapi32_security as api
from pointsman.system.windows import _crypt32
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.accounts import sid_text

ACCESS_ALLOWED = 0  # ACCESS_ALLOWED_ACE_TYPE
INHERIT_ONLY = 0x8  # INHERIT_ONLY_ACE: for what is made in the folder, not for the folder
HEADER = 8  # bytes of an ACL before its entries
WRITE = 0x4000_0000 | 0x1000_0000 | 0x0001_0000 | 0x0004_0000 | 0x0008_0000 | 0x2 | 0x4 | 0x40
"""GENERIC_WRITE, GENERIC_ALL, DELETE, WRITE_DAC, WRITE_OWNER, FILE_ADD_FILE, FILE_ADD_SUBDIRECTORY, DELETE_CHILD."""
TRUSTED = frozenset(
    (
        "S-1-5-18",  # SYSTEM
        "S-1-5-32-544",  # Administrators
        "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",  # TrustedInstaller
        "S-1-3-0",  # CREATOR OWNER: whoever made it, and nobody else can make anything here
    )
)
KNOWN = {
    "S-1-1-0": "Everyone", "S-1-5-11": "Authenticated Users", "S-1-5-32-545": "Users", "S-1-5-4": "Interactive",
}  # fmt: skip


def others_who_write(folder: Path) -> tuple[str, ...] | None:
    """None: the list cannot be read.  A folder without one is everybody's."""
    owner, dacl, descriptor = (ctypes.c_void_p() for _ in range(3))
    wanted = api.DACL_SECURITY_INFORMATION | api.OWNER_SECURITY_INFORMATION
    try:
        api.GetNamedSecurityInfoW(
            str(folder), api.SE_FILE_OBJECT, wanted, ctypes.byref(owner), None, ctypes.byref(dacl), None,
            ctypes.byref(descriptor),
        )  # fmt: skip
    except Win32Error:
        return None
    try:
        if dacl.value is None:
            return (KNOWN["S-1-1-0"],)
        size = struct.unpack("<H", ctypes.string_at(dacl.value + 2, 2))[0]
        sids = {*writers(ctypes.string_at(dacl.value, size))}
        if owner.value is not None:  # an owner may change the list itself
            sids.add(sid_text(ctypes.string_at(owner.value, 8 + 4 * ctypes.string_at(owner.value + 1, 1)[0])))
        return tuple(sorted(KNOWN.get(sid, sid) for sid in sids - TRUSTED))
    except ValueError:
        return None
    finally:
        _crypt32.LocalFree(descriptor)


def writers(acl: bytes) -> Iterator[str]:
    """SIDs that an ACL lets write, of entries that count for the folder itself.  Raises ValueError for no ACL."""
    if len(acl) < HEADER:
        raise ValueError("not an access list")
    (count,) = struct.unpack_from("<H", acl, 4)
    at = HEADER
    for _ in range(count):
        if at + HEADER > len(acl):
            raise ValueError("an entry beyond the end")
        kind, flags, size, mask = struct.unpack_from("<BBHI", acl, at)
        if size < HEADER or at + size > len(acl):
            raise ValueError("an entry beyond the end")
        if kind == ACCESS_ALLOWED and not flags & INHERIT_ONLY and mask & WRITE:
            yield sid_text(acl[at + HEADER : at + size])
        at += size
