"""What this system has to protect a secret on disk: DPAPI and an access list on Windows, the file's mode elsewhere."""

from __future__ import annotations

import sys

from pointsman.system.windows.key_protection import Dpapi


def key_protection() -> Dpapi | None:
    """For `authority.root_store`; None: there is nothing but the file's mode."""
    return Dpapi() if sys.platform == "win32" else None
