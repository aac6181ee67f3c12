"""Make every wheel of a release on one Linux machine.

    python tools/wheels.py [DIRECTORY]     default: dist

Linux x86-64 (or what this machine is) with the lab's library; Windows x64 and ARM64 with the driver, its PDB and INF.
The driver in them is not signed: docs/signing.md says what to do before it can load.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("", "win_amd64", "win_arm64")


def build(directory: Path) -> list[Path]:
    """Returns the wheels, in the order of TARGETS."""
    wheels: list[Path] = []
    for target in TARGETS:
        before = {path: path.stat().st_mtime_ns for path in directory.glob("*.whl")}
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
        made = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "POINTSMAN_WHEEL": target}, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if made.returncode:
            raise SystemExit(made.stdout)
        wheels += [path for path in directory.glob("*.whl") if path.stat().st_mtime_ns != before.get(path)]
    return wheels


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    for wheel in build(directory.resolve()):
        print(wheel)


if __name__ == "__main__":
    main()
