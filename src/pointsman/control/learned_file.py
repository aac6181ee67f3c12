"""Learned entries on disk: a small JSON file, replaced as a whole: a crash leaves the old one or the new one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from pointsman.errors import Exit, PointsmanError
from pointsman.policy.learned import MAX_ENTRIES, Entry, Learned

MAX_SIZE = 4 * 1024 * 1024  # bytes


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    entries: list[Entry]


def load_learned(path: Path) -> Learned:
    """Nothing if there is no such file.

    Raises:
        PointsmanError: PM304, it cannot be read or is not ours.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            raise ValueError(f"larger than {MAX_SIZE} bytes")
        found = msgspec.json.decode(data, type=_File)
        if found.version != 1 or len(found.entries) > MAX_ENTRIES:
            raise ValueError(f"version {found.version}, {len(found.entries)} entries")
        return Learned(tuple(found.entries))
    except FileNotFoundError:
        return Learned()
    except (OSError, ValueError) as error:  # msgspec's errors, and those of Entry, are ValueErrors
        raise _failure(path, "read", error, "no learned entry is in force") from error


def save_learned(path: Path, learned: Learned) -> None:
    """Raises PointsmanError PM304; then the file is as it was."""
    temporary = path.with_name(path.name + ".new")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(msgspec.json.encode(_File(1, list(learned.entries))))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        raise _failure(path, "write", error, "entries hold until the proxy ends, and are then forgotten") from error


def _failure(path: Path, verb: str, error: Exception, effect: str) -> PointsmanError:
    seen = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return PointsmanError(
        f"cannot {verb} the learned entries {path}",
        code="PM304",
        seen=seen,
        effect=effect,
        do="see to it that the file can be read and written, or remove it",
        status=Exit.BAD_FILE,
    )
