"""Where the certificate authority lives unless somebody says otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_ca_dir() -> Path:
    """Per user, where the system keeps data of programs (XDG Base Directory Specification; %LOCALAPPDATA%)."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "Pointsman" / "ca"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "pointsman" / "ca"
