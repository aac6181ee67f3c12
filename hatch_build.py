"""Build hook: what is compiled goes into the wheel, by the ziglang wheel on Linux.

A wheel for Linux has the lab's library.  POINTSMAN_WHEEL=win_amd64 or win_arm64 makes one for Windows instead, with the
driver for that architecture, its symbols and its INF (tools/wheels.py makes all of them).
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WINDOWS = {"win_amd64": "x64", "win_arm64": "arm64"}


class NativeHook(BuildHookInterface):  # type: ignore[type-arg]
    """Built on another system than Linux a wheel is pure Python: no lab, no driver."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or sys.platform != "linux":
            return
        wanted = os.environ.get("POINTSMAN_WHEEL")
        if wanted and version != "editable":
            files = self._driver(WINDOWS[wanted])
        else:
            wanted = f"manylinux_2_28_{platform.machine()}"
            files = self._lab()
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{wanted}"
        if version != "editable":  # there they lie in the source folder already
            build_data["force_include"].update(files)

    def _lab(self) -> dict[str, str]:
        self._native("lab")
        library = "pointsman/lab/_native/libpointsman_lab.so"
        return {str(Path(self.root) / "src" / library): library}

    def _driver(self, architecture: str) -> dict[str, str]:
        self._native("driver")
        built, package = Path(self.root) / "build/driver" / architecture, Path(self.root) / "driver/package"
        folder = f"pointsman/system/windows/_native/{architecture}"
        return {
            str(built / "pointsman.sys"): f"{folder}/pointsman.sys",
            str(built / "pointsman.pdb"): f"{folder}/pointsman.pdb",
            str(package / "pointsman.inf"): f"{folder}/pointsman.inf",
        }

    def _native(self, what: str) -> None:
        native = Path(self.root) / "tools/native.py"
        subprocess.run([sys.executable, str(native), what], check=True, cwd=self.root, stdout=sys.stderr)
