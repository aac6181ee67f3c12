"""Where the driver file lies, and how it gets there: whole or not at all, and never over one that may be loaded.

    %ProgramFiles%\\Pointsman\\driver\\0.1.0-5f3a...\\pointsman.sys

The folder's name holds the version and half of the file's SHA-256, so every version has a place of its own, a second
installation finds the first one's file, and anyone can tell whether the file was changed afterwards.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pointsman.errors import Exit, PointsmanError
from pointsman.operate.image import DriverImage, ImageError, read_image

FILE_NAME = "pointsman.sys"
HASH_DIGITS = 32
MAX_SIZE = 16 << 20  # bytes; the driver has some 50,000
_FOLDER = re.compile(rf"(.+)-([0-9a-f]{{{HASH_DIGITS}}})")


@dataclass(frozen=True, slots=True)
class DriverFile:
    path: Path
    data: bytes
    image: DriverImage

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def version(self) -> str:
        return self.image.version or "unknown"


def read_driver(path: Path) -> DriverFile:
    """Raises PointsmanError (PM211): it cannot be read, or is no driver."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    if len(data) > MAX_SIZE:
        raise _unusable(path, f"larger than {MAX_SIZE >> 20} MB")
    try:
        image = read_image(data)
    except ImageError as error:
        raise _unusable(path, str(error)) from error
    if not image.native:
        raise _unusable(path, "a program, and no driver")
    return DriverFile(path, data, image)


def drivers_folder(program_files: Path) -> Path:
    return program_files / "Pointsman" / "driver"


def place_of(folder: Path, driver: DriverFile) -> Path:
    return folder / f"{driver.version}-{driver.sha256[:HASH_DIGITS]}" / FILE_NAME


def place(folder: Path, driver: DriverFile) -> tuple[Path, bool]:
    """Put the file into its place.  Returns the place, and whether anything was written.

    Raises:
        PointsmanError: PM212, it cannot be written (full disk, no right, in use); nothing half-written is left.
    """
    target = place_of(folder, driver)
    if _holds(target, driver):
        return target, False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="new-", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(driver.data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PointsmanError(
            "cannot put the driver file into its place",
            code="PM212",
            seen=f"{target}: {error.strerror or error}",
            effect="nothing was changed: an installed driver is still there and as it was",
            do="make room on that disk and see that administrators may write there, then run the same command again",
            status=Exit.BAD_FILE,
        ) from error
    return target, True


def was_changed(path: Path) -> bool | None:
    """Does an installed file differ from what was installed?  None if its folder does not say."""
    named = _FOLDER.fullmatch(path.parent.name)
    if named is None:
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:HASH_DIGITS] != named[2]
    except OSError:
        return None


def placed(folder: Path) -> list[Path]:
    """Every driver file (or what is left of one) that we have put there."""
    try:
        return sorted(child / FILE_NAME for child in folder.iterdir() if child.is_dir())
    except OSError:
        return []


def remove(path: Path) -> bool:
    """A placed file with its folder.  False if it is in use."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    shutil.rmtree(path.parent, ignore_errors=True)
    return not path.parent.exists()


def _holds(target: Path, driver: DriverFile) -> bool:
    try:
        return target.stat().st_size == len(driver.data) and target.read_bytes() == driver.data
    except OSError:
        return False


def _unusable(path: Path, seen: str) -> PointsmanError:
    return PointsmanError(
        "cannot use this driver file",
        code="PM211",
        seen=f"{path}: {seen}",
        effect="nothing was changed",
        do="name the pointsman.sys of a release with --file, or install the release again",
        status=Exit.BAD_FILE,
    )
