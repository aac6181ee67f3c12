"""A program's path as WFP names it, and back: the lower-case NT device path, UTF-16LE with its terminating NUL.

Not by FwpmGetAppIdFromFileName0, which fails for a program that is not there now: a rule may name one that comes later.
Lower-cased by Windows' own table, one code unit to one (Python makes two of U+0130).  Volume numbers may change with a
restart, so app ids are made at each start and paths are what policies keep.
"""

from __future__ import annotations

import ctypes
import os

from pointsman.errors import PointsmanError
from pointsman.system.windows import _kernel32 as api
from pointsman.system.windows._library import Win32Error, code_text

MAX_PATH = 32768  # characters, the longest that NT knows
_UNC = "\\device\\mup\\"
_SUBST = "\\??\\"
_SYSTEM_ROOT = "\\systemroot\\"
_NOT_ABSOLUTE = "it must begin with a drive, as in C:\\Program Files\\, or with \\\\server\\share"
_SUBSTITUTIONS = 8  # of a substituted drive by another, at most


def app_id(path: str) -> bytes:
    """`path` is absolute, with a drive or as \\\\server\\share; it need not exist.

    Raises:
        PointsmanError: PM207, there is no such drive, or the path is not absolute.
    """
    path = path.replace("/", "\\")
    if path[1:3] != ":\\" and not path.startswith("\\\\"):
        raise _bad_path(path, _NOT_ABSOLUTE)
    try:
        device_path = _of_file(path)
    except Win32Error:  # not there, or not ours to open: the name alone must do
        device_path = _of_name(path)
    return _encode(_lower(device_path) + "\0")


def image_path(identity: bytes) -> str:
    """The path people know, in lower case; what no drive letter leads to stays a device path.

    Also of what a process was started by, which need not be a device path: `\\??\\C:\\...` for most (ImageFileName of
    "PS_CREATE_NOTIFY_INFO", Windows driver docs: the exact name that was used to open it).
    """
    device_path = _lower(identity.decode("utf-16-le", "replace").rstrip("\0"))
    if device_path.startswith(_SUBST + "unc\\"):
        return "\\\\" + device_path.removeprefix(_SUBST + "unc\\")
    if device_path.startswith(_SUBST):
        return device_path.removeprefix(_SUBST)
    if device_path.startswith(_SYSTEM_ROOT):
        return _lower(os.environ.get("SYSTEMROOT", "C:\\Windows")) + device_path.removeprefix(_SYSTEM_ROOT[:-1])
    if device_path.startswith(_UNC):
        return "\\\\" + device_path.removeprefix(_UNC)
    drives = api.GetLogicalDrives()
    for letter in (chr(ord("a") + place) for place in range(26) if drives >> place & 1):
        try:
            device = _lower(_device(letter + ":"))
        except Win32Error:
            continue  # gone since it was listed
        if device_path.startswith(device + "\\"):
            return letter + ":" + device_path.removeprefix(device)
    return device_path


def _of_file(path: str) -> str:
    """Of what is there: links, short names and mount points are resolved."""
    share = api.FILE_SHARE_READ | api.FILE_SHARE_WRITE | api.FILE_SHARE_DELETE
    handle = api.CreateFileW(path, 0, share, None, api.OPEN_EXISTING, api.FILE_FLAG_BACKUP_SEMANTICS, None)
    try:
        buffer = _buffer(MAX_PATH)
        size = api.GetFinalPathNameByHandleW(handle, buffer, MAX_PATH, api.VOLUME_NAME_NT)
        return _text(buffer, min(size, MAX_PATH))
    finally:
        api.CloseHandle(handle)


def _of_name(path: str) -> str:
    if path.startswith("\\\\") and not path.startswith(("\\\\?\\", "\\\\.\\")):
        return _UNC + path[2:]
    at = path
    for _ in range(_SUBSTITUTIONS):
        if at[1:3] != ":\\":
            raise _bad_path(path, _NOT_ABSOLUTE)
        try:
            device = _device(at[:2])
        except Win32Error as error:
            raise _bad_path(path, f"drive {at[:2]} is unknown (Windows error {code_text(error.code)})") from error
        if not device.startswith(_SUBST):
            return device + at[2:]
        at = device.removeprefix(_SUBST).rstrip("\\") + at[2:]
    raise _bad_path(path, "its drive is a substitute for itself")


def _device(drive: str) -> str:
    """The NT device of a drive letter: the first of a list."""
    buffer = _buffer(MAX_PATH)
    size = api.QueryDosDeviceW(drive, buffer, MAX_PATH)
    return _text(buffer, size).split("\0")[0]


def _lower(text: str) -> str:
    source = _encode(text)
    target = _buffer(len(source) // 2)
    size = len(source) // 2
    api.LCMapStringEx(
        api.LOCALE_NAME_INVARIANT, api.LCMAP_LOWERCASE, source, size, target, size, None, None, None
    )  # fmt: skip
    return _text(target, size)


def _buffer(characters: int) -> ctypes.Array[ctypes.c_uint16]:
    return (ctypes.c_uint16 * characters)()


def _text(buffer: ctypes.Array[ctypes.c_uint16], characters: int) -> str:
    return bytes(buffer)[: 2 * characters].decode("utf-16-le", "surrogatepass")


def _encode(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def _bad_path(path: str, why: str) -> PointsmanError:
    return PointsmanError(
        "cannot tell which program a path means",
        code="PM207", seen=f"{path}: {why}", effect="the policy is not loaded",
        do="write the program's full path as Explorer shows it; for a network drive, \\\\server\\share\\...",
    )  # fmt: skip
