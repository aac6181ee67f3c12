"""`mitmproxy.net.http`."""

from __future__ import annotations

from pointsman.engine.messages import Headers

__all__ = ["Headers"]
