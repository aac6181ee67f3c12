"""How many files and sockets this process may have open, which Unix bounds twice: softly, and for good.

The soft bound is often 1,024, for programs that still use select(); a proxy has two sockets for each connection.
Windows has no such bound (its `resource` does not exist).
"""

from __future__ import annotations

import sys


def raise_open_files(wanted: int) -> tuple[int, int] | None:
    """Up to the hard bound; returns both bounds as they were if something was changed (getrlimit(2))."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft, hard
