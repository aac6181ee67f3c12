"""`mitmproxy.addonmanager`."""

from __future__ import annotations

from pointsman.addons.options import Loader

__all__ = ["Loader"]
