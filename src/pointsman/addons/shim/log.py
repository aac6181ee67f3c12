"""`mitmproxy.log`."""

from __future__ import annotations

from pointsman.addons.context import ALERT, Log

__all__ = ["ALERT", "Log"]
