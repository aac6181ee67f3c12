"""The file that TLS secrets are written to on request, so that captures can be read (NSS key log format).

It decides that such a file is nobody else's to read, and that the environment (SSLKEYLOGFILE) asks for nothing.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pointsman.errors import Exit, PointsmanError


def prepare_key_log(path: Path) -> None:
    """Make it, or take what is there if it is a plain file of ours; 0600.  Raises PointsmanError PM456."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError("not a plain file")
            if os.name == "posix":
                os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
    except OSError as error:
        raise PointsmanError(
            f"cannot write the key log {path}",
            code="PM456",
            seen=error.strerror or str(error),
            effect="the proxy does not start; nothing is intercepted (fail open)",
            do="name a file that can be written, or drop --key-log",
            status=Exit.BAD_FILE,
        ) from error
