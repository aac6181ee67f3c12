"""`mitmproxy.script`."""

from __future__ import annotations

from pointsman.addons.listener import concurrent

__all__ = ["concurrent"]
