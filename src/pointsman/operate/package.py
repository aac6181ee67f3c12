"""Which pointsman.sys belongs to this installation, for this machine's processor."""

from __future__ import annotations

from pathlib import Path

from pointsman.operate.image import MACHINE_NAMES
from pointsman.operate.placement import FILE_NAME, DriverFile, read_driver

_HERE = Path(__file__).resolve()
PACKAGED = _HERE.parents[1] / "system" / "windows" / "_native"
"""Where a Windows wheel has it, by processor: `x64/pointsman.sys`, `arm64/pointsman.sys`."""
BUILT = _HERE.parents[3] / "build" / "driver"
"""Where `make driver` puts it in a checkout."""


def bundled_driver(machine: int) -> DriverFile:
    """Raises PointsmanError (PM211): there is none for this processor."""
    name = MACHINE_NAMES.get(machine, "x64")
    places = [folder / name / FILE_NAME for folder in (PACKAGED, BUILT)]
    return read_driver(next((path for path in places if path.is_file()), places[0]))
