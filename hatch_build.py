"""Build hook: the lab's library goes into the wheel of a Linux machine, compiled by the ziglang wheel."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeHook(BuildHookInterface):  # type: ignore[type-arg]
    """Elsewhere than on Linux there is no lab, and the wheel is pure Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's signature)
        if self.target_name != "wheel" or sys.platform != "linux":
            return
        native = Path(self.root) / "tools/native.py"
        subprocess.run([sys.executable, str(native), "lab"], check=True, cwd=self.root)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_2_28_{platform.machine()}"
