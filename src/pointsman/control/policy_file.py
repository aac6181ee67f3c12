"""Read a policy file: the disk part of `policy.load`."""

from __future__ import annotations

from pathlib import Path

from pointsman.errors import Exit, PointsmanError
from pointsman.policy.load import parse_policy
from pointsman.policy.rules import Policy

MAX_SIZE = 4 * 1024 * 1024  # bytes; 10,000 rules with many values each fit


def load_policy(path: Path) -> Policy:
    """Raises PointsmanError PM301: not readable, or everything that is wrong inside, all at once."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise _unreadable(path, (error.strerror or str(error)).lower()) from error
    if len(data) > MAX_SIZE:
        raise _unreadable(path, f"larger than {MAX_SIZE} bytes")
    return parse_policy(data, str(path))


def _unreadable(path: Path, seen: str) -> PointsmanError:
    return PointsmanError(
        f"cannot read the policy {path}",
        code="PM301",
        seen=f"{path}:1: {seen}",
        effect="no rule of this file is in force; what was in force before still is",
        do="name a policy file that can be read, or none to use the built-in policy",
        status=Exit.POLICY,
    )
