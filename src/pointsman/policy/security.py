"""SIDs and security descriptors as bytes: how WFP is told of a user or of a service.

Pure.  ALE_USER_ID matches by an access check: the process's token must be granted FWP_ACTRL_MATCH_FILTER (1) by the
descriptor (windows-user-space.md 3.6; "FWPM_FILTER_CONDITION0", Windows SDK docs).  Layouts: [MS-DTYP] 2.4.2.2 SID,
2.4.4.2 ACCESS_ALLOWED_ACE, 2.4.5 ACL, 2.4.6 SECURITY_DESCRIPTOR (self-relative).
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable

_SID = re.compile(r"S-1-(\d{1,15})((?:-\d{1,10}){1,15})", re.ASCII | re.IGNORECASE)
_MATCH_FILTER = 1
_SELF_RELATIVE_WITH_DACL = 0x8004
_HEADER = struct.Struct("<BBHIIII")
_ACL = struct.Struct("<BBHHH")
_ACE = struct.Struct("<BBHI")


def is_sid(text: str) -> bool:
    try:
        encode_sid(text)
    except ValueError:
        return False
    return True


def encode_sid(text: str) -> bytes:
    """`S-1-5-18` in its binary form.  Raises ValueError."""
    found = _SID.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} is no SID")
    authority, parts = int(found[1]), [int(part) for part in found[2][1:].split("-")]
    if authority >= 2**48 or any(part >= 2**32 for part in parts):
        raise ValueError(f"{text} is no SID")
    return bytes((1, len(parts))) + authority.to_bytes(6, "big") + struct.pack(f"<{len(parts)}I", *parts)


def service_sid(name: str) -> str:
    """The SID that a service has in its token: SHA-1 over its upper-case name (windows-user-space.md 3.6)."""
    digest = hashlib.sha1(name.upper().encode("utf-16-le"), usedforsecurity=False).digest()
    return "S-1-5-80-" + "-".join(map(str, struct.unpack("<5I", digest)))


def match_descriptor(sids: Iterable[str]) -> bytes:
    """A self-relative descriptor that grants "match this filter" to each of these SIDs and to nobody else."""
    aces = [_ACE.pack(0, 0, _ACE.size + len(sid), _MATCH_FILTER) + sid for sid in map(encode_sid, sids)]
    size = sum(map(len, aces))
    acl = _ACL.pack(2, 0, _ACL.size + size, len(aces), 0) + b"".join(aces)
    return _HEADER.pack(1, 0, _SELF_RELATIVE_WITH_DACL, 0, 0, 0, _HEADER.size) + acl
