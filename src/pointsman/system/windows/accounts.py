"""Accounts of Windows: SIDs as text, names to SIDs and back, and whose token a process has.

Names are asked for once for each SID, since a domain's controller may be far away.  It knows no policy.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
from collections.abc import Iterator

from pointsman.system.windows import _advapi32_accounts as api
from pointsman.system.windows._kernel32 import CloseHandle
from pointsman.system.windows._library import DWORD, HANDLE, Win32Error

MAX_NAME = 1024  # characters; accounts have at most 256, domains 255
MAX_SID = 68  # bytes (SECURITY_MAX_SID_SIZE, winnt.h)
MAX_TOKEN = 1 << 16  # bytes of one class of token information
MAX_KNOWN = 1024  # SIDs whose names are kept
_SERVICE_ACCOUNTS = ("S-1-5-18", "S-1-5-19", "S-1-5-20")
"""SYSTEM, LOCAL SERVICE and NETWORK SERVICE are the users of processes, although Windows calls them groups."""


class Accounts:
    """Remembers names; for one thread at a time or several."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}

    def of_process(self, process: int) -> frozenset[str]:
        """Every way to write the user of an open process, and the SIDs of the groups that his token may speak for.

        In lower case; empty if we may not look.  The groups make a rule with a group's SID mean here what it means to
        the filter engine, which matches tokens by an access check.
        """
        try:
            token = HANDLE()
            api.OpenProcessToken(process, api.TOKEN_QUERY, ctypes.byref(token))
        except Win32Error:
            return frozenset()
        try:
            (user, _), *_ = _sids(_information(token, api.TOKEN_USER_CLASS), 1, at=0)
            data = _information(token, api.TOKEN_GROUPS_CLASS)
            groups = _sids(data, struct.unpack_from("<I", data)[0], at=8)
        except (Win32Error, ValueError):
            return frozenset()
        finally:
            with contextlib.suppress(Win32Error):
                CloseHandle(token)
        found = {user.lower(), *self._names_of(user)}
        for group, attributes in groups:
            if attributes & api.SE_GROUP_ENABLED and not attributes & api.SE_GROUP_USE_FOR_DENY_ONLY:
                found.add(group.lower())
        return frozenset(found)

    def sid_of(self, name: str) -> str | None:
        """None for nobody the system knows, and for a group: whose member a process is only its token tells."""
        sid, domain = ctypes.create_string_buffer(MAX_SID), _wide(MAX_NAME)
        sid_size, domain_size, kind = DWORD(MAX_SID), DWORD(MAX_NAME), DWORD()
        try:
            api.LookupAccountNameW(
                None, name, sid, ctypes.byref(sid_size), domain, ctypes.byref(domain_size), ctypes.byref(kind)
            )
            text = sid_text(sid.raw)
        except (Win32Error, ValueError):
            return None
        is_user = kind.value == api.SID_TYPE_USER
        return text if is_user or text in _SERVICE_ACCOUNTS else None

    def _names_of(self, sid: str) -> tuple[str, ...]:
        """`name` and `domain\\name` in lower case; neither if nobody can tell."""
        if sid not in self._names:
            if len(self._names) >= MAX_KNOWN:
                del self._names[next(iter(self._names))]
            self._names[sid] = _look_up(sid)
        return self._names[sid]


def sid_text(data: bytes) -> str:
    """`S-1-5-18` of the binary form ([MS-DTYP] 2.4.2.2); what follows it is not looked at.  Raises ValueError."""
    if len(data) < 8 or data[0] != 1 or data[1] > 15 or len(data) < 8 + 4 * data[1]:
        raise ValueError("not a SID")
    parts = struct.unpack_from(f"<{data[1]}I", data, 8)
    return "-".join(["S-1", str(int.from_bytes(data[2:8], "big")), *map(str, parts)])


def sid_bytes(text: str) -> bytes:
    """The inverse of `sid_text`."""
    authority, *parts = map(int, text.split("-")[2:])
    return bytes((1, len(parts))) + authority.to_bytes(6, "big") + struct.pack(f"<{len(parts)}I", *parts)


def _look_up(sid: str) -> tuple[str, ...]:
    name, domain = _wide(MAX_NAME), _wide(MAX_NAME)
    name_size, domain_size, kind = DWORD(MAX_NAME), DWORD(MAX_NAME), DWORD()
    try:
        api.LookupAccountSidW(
            None, sid_bytes(sid), name, ctypes.byref(name_size), domain, ctypes.byref(domain_size), ctypes.byref(kind)
        )
    except Win32Error:
        return ()
    user, realm = _text(name).lower(), _text(domain).lower()
    return (user, f"{realm}\\{user}") if realm else (user,)


def _information(token: HANDLE, kind: int) -> ctypes.Array[ctypes.c_char]:
    """Raises Win32Error, also for more than a token has."""
    buffer = ctypes.create_string_buffer(MAX_TOKEN)
    needed = DWORD()
    api.GetTokenInformation(token, kind, buffer, MAX_TOKEN, ctypes.byref(needed))
    return buffer


def _sids(buffer: ctypes.Array[ctypes.c_char], count: int, *, at: int) -> Iterator[tuple[str, int]]:
    """An array of SID_AND_ATTRIBUTES whose SIDs lie in the same buffer.  Raises ValueError for any other."""
    size = ctypes.sizeof(api.SID_AND_ATTRIBUTES)
    start, end = ctypes.addressof(buffer), ctypes.addressof(buffer) + len(buffer)
    if at + count * size > len(buffer):
        raise ValueError("more SIDs than bytes")
    for place in range(count):
        entry = api.SID_AND_ATTRIBUTES.from_buffer(buffer, at + place * size)
        if not start <= (entry.Sid or 0) <= end - 8:
            raise ValueError("a SID elsewhere")
        yield sid_text(ctypes.string_at(entry.Sid, min(MAX_SID, end - entry.Sid))), entry.Attributes


def _wide(characters: int) -> ctypes.Array[ctypes.c_uint16]:
    return (ctypes.c_uint16 * characters)()


def _text(buffer: ctypes.Array[ctypes.c_uint16]) -> str:
    return bytes(buffer).decode("utf-16-le", "replace").split("\0", 1)[0]
