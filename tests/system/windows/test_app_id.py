"""App ids on a double of kernel32 with drives of every kind; real files are Wine's part (tests/wine/test_system.py)."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from pointsman.errors import PointsmanError
from pointsman.system.windows import _kernel32
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.app_id import app_id, image_path

DRIVES = {
    "C:": "\\Device\\HarddiskVolume3\0",
    "D:": "\\Device\\HarddiskVolume31\0",
    "S:": "\\??\\C:\\Tools\0\\??\\C:\\Old\0",  # subst, and what it was before
    "T:": "\\??\\S:\\Deep\0",
    "R:": "\\??\\C:\\\0",  # subst of a whole drive
    "X:": "\\??\\X:\\\0",
}


class Kernel32:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[str, str] = {}
        self.open = 0
        for name in vars(_kernel32):
            if hasattr(self, name):
                monkeypatch.setattr(_kernel32, name, getattr(self, name))

    def CreateFileW(self, path: str, access: int, *rest: Any) -> str:
        assert access == 0  # nothing of the file is read
        if path not in self.files:
            raise Win32Error("CreateFileW", 2)
        self.open += 1
        return path

    def CloseHandle(self, handle: str) -> int:
        self.open -= 1
        return 1

    def GetFinalPathNameByHandleW(self, handle: str, buffer: Any, size: int, flags: int) -> int:
        assert flags == 2
        return self._write(buffer, self.files[handle])

    def QueryDosDeviceW(self, drive: str, buffer: Any, size: int) -> int:
        if drive.upper() not in DRIVES:
            raise Win32Error("QueryDosDeviceW", 2)
        return self._write(buffer, DRIVES[drive.upper()] + "\0")

    def GetLogicalDrives(self) -> int:
        return sum(1 << ord(drive[0]) - ord("A") for drive in DRIVES) | 1 << 25  # Z: goes as it is listed

    def LCMapStringEx(
        self, locale: str, flags: int, source: bytes, size: int, target: Any, room: int, *rest: None
    ) -> int:
        assert (locale, flags, room) == ("", 0x100, size)
        return self._write(target, source[: 2 * size].decode("utf-16-le").lower())

    @staticmethod
    def _write(buffer: Any, text: str) -> int:
        ctypes.memmove(buffer, text.encode("utf-16-le"), 2 * len(text))
        return len(text)


@pytest.fixture(autouse=True)
def kernel32(monkeypatch: pytest.MonkeyPatch) -> Kernel32:
    return Kernel32(monkeypatch)


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("C:\\A b\\App.EXE", "\\device\\harddiskvolume3\\a b\\app.exe"),
        ("c:/a/b.exe", "\\device\\harddiskvolume3\\a\\b.exe"),
        ("S:\\x.exe", "\\device\\harddiskvolume3\\tools\\x.exe"),
        ("T:\\x.exe", "\\device\\harddiskvolume3\\tools\\deep\\x.exe"),
        ("R:\\x.exe", "\\device\\harddiskvolume3\\x.exe"),
        ("\\\\Server\\Share\\x.exe", "\\device\\mup\\server\\share\\x.exe"),
    ],
)
def test_a_missing_file_is_named_by_its_path(path: str, identity: str) -> None:
    assert app_id(path) == (identity + "\0").encode("utf-16-le")


def test_an_existing_file_is_named_by_what_windows_resolves(kernel32: Kernel32) -> None:
    kernel32.files["C:\\PROGRA~1\\x.exe"] = "\\Device\\HarddiskVolume9\\Program Files\\x.exe"

    assert app_id("C:\\PROGRA~1\\x.exe").decode("utf-16-le") == "\\device\\harddiskvolume9\\program files\\x.exe\0"
    assert kernel32.open == 0


@pytest.mark.parametrize("path", ["x.exe", "C:x.exe", "\\x.exe", "Q:\\x.exe", "X:\\x.exe", "\\\\?\\x", ""])
def test_a_path_that_names_nothing_is_told_in_four_lines(path: str) -> None:
    with pytest.raises(PointsmanError) as caught:
        app_id(path)

    assert caught.value.code == "PM207"
    assert caught.value.seen.startswith(path)


@pytest.mark.parametrize(
    ("identity", "path"),
    [
        ("\\device\\harddiskvolume3\\a\\b.exe", "c:\\a\\b.exe"),
        ("\\device\\harddiskvolume31\\b.exe", "d:\\b.exe"),  # whose device begins like that of C:
        ("\\device\\mup\\server\\share\\b.exe", "\\\\server\\share\\b.exe"),
        ("\\device\\harddiskvolume4\\b.exe", "\\device\\harddiskvolume4\\b.exe"),
        ("system", "system"),
    ],
)
@pytest.mark.parametrize("end", ["", "\0"])
def test_image_path_finds_the_drive(identity: str, path: str, end: str) -> None:
    assert image_path((identity + end).encode("utf-16-le")) == path


def test_half_a_character_at_the_end_of_a_cut_app_id_is_no_error() -> None:
    assert image_path("\\device\\harddiskvolume3\\b".encode("utf-16-le") + b"\x2e").startswith("c:\\b")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("\\??\\C:\\Program Files\\A\\a.EXE", "c:\\program files\\a\\a.exe"),
        ("\\??\\UNC\\Server\\Share\\a.exe", "\\\\server\\share\\a.exe"),
        ("\\Device\\HarddiskVolume31\\A.exe", "d:\\a.exe"),
        ("\\SystemRoot\\System32\\smss.exe", "e:\\winnt\\system32\\smss.exe"),
    ],
)
def test_what_a_process_was_started_by_is_a_path_too(monkeypatch: pytest.MonkeyPatch, name: str, path: str) -> None:
    Kernel32(monkeypatch)
    monkeypatch.setenv("SYSTEMROOT", "E:\\WinNT")

    assert image_path(name.encode("utf-16-le")) == path
