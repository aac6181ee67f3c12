"""The full path of a program that the driver names, also where its name was too long for the driver's record.

Windows' own filters compare whole app ids, so the kernel decides about long paths as about others; the record that the
proxy gets has room for 208 characters.  Who else must decide about the same program asks the system for the rest.
"""

from __future__ import annotations

from typing import Protocol

from pointsman.errors import PointsmanError
from pointsman.system.interface import System
from pointsman.wire.abi import Flag


class Named(Protocol):
    """A redirect context, or an event of the driver."""

    @property
    def app_id(self) -> bytes: ...

    @property
    def flags(self) -> Flag: ...

    @property
    def pid(self) -> int: ...

    @property
    def process_start(self) -> int: ...


def program_path(system: System, named: Named) -> str | None:
    """None if the driver named no program.  Of a process that has ended it is the part that the driver kept."""
    if not named.app_id:
        return None
    if Flag.APP_ID_TRUNCATED in named.flags:
        whole = system.processes.image(named.pid, named.process_start)
        app_id = _app_id(system, whole) if whole is not None else b""
        # Another program under this number would begin otherwise, unless it lies beside the one we look for.
        if app_id.startswith(named.app_id):
            return system.image_path(app_id)
    return system.image_path(named.app_id)


def _app_id(system: System, path: str) -> bytes:
    try:
        return system.app_id(path)
    except PointsmanError:
        return b""  # a drive that is gone
