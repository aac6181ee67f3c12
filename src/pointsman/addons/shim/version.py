"""`mitmproxy.version`: which product a script runs in, for those that ask."""

from __future__ import annotations

from pointsman import __version__

VERSION = __version__
MITMPROXY = f"pointsman {__version__}"

__all__ = ["MITMPROXY", "VERSION"]
