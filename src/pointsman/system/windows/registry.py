"""Values of HKEY_LOCAL_MACHINE as Python values: read only, and absent is None, whatever the reason."""

from __future__ import annotations

import ctypes
import struct

from pointsman.system.host import Value
from pointsman.system.windows import _machine as api
from pointsman.system.windows._library import DWORD, Win32Error

ROOM = 64 << 10  # bytes; a larger value is no setting
NAME_ROOM = 256  # characters of a key's name, by "Registry Element Size Limits"
MAX_KEYS = 10_000


def read(key: str, value: str) -> Value | None:
    kind, size = DWORD(), DWORD(ROOM)
    data = ctypes.create_string_buffer(ROOM)
    try:
        api.RegGetValueW(
            api.HKEY_LOCAL_MACHINE, key, value, api.RRF_RT_ANY | api.RRF_NOEXPAND, ctypes.byref(kind), data,
            ctypes.byref(size),
        )  # fmt: skip
    except Win32Error:
        return None
    return decode(kind.value, data.raw[: size.value])


def decode(kind: int, data: bytes) -> Value | None:
    """A value's bytes by its REG_* type; None if they do not fit together."""
    match kind:
        case api.REG_SZ | api.REG_EXPAND_SZ:
            return _text(data).rstrip("\0")
        case api.REG_MULTI_SZ:
            return tuple(part for part in _text(data).split("\0") if part)
        case api.REG_DWORD if len(data) == 4:
            return int(struct.unpack("<I", data)[0])
        case api.REG_QWORD if len(data) == 8:
            return int(struct.unpack("<Q", data)[0])
        case api.REG_BINARY:
            return data
    return None


def _text(data: bytes) -> str:
    return data[: len(data) & ~1].decode("utf-16-le", "replace")


def key_names(key: str) -> tuple[str, ...]:
    """Of the keys directly below."""
    opened = ctypes.c_void_p()
    names = []
    try:
        api.RegOpenKeyExW(api.HKEY_LOCAL_MACHINE, key, 0, api.KEY_ENUMERATE, ctypes.byref(opened))
    except Win32Error:
        return ()
    try:
        for index in range(MAX_KEYS):
            name, size = ctypes.create_unicode_buffer(NAME_ROOM), DWORD(NAME_ROOM)
            api.RegEnumKeyExW(opened, index, name, ctypes.byref(size), None, None, None, None)
            names.append(name.value)
    except Win32Error:
        pass  # no more items, or none that we may see
    finally:
        api.RegCloseKey(opened)
    return tuple(names)
