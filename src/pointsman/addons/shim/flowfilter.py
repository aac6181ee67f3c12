"""`mitmproxy.flowfilter`."""

from __future__ import annotations

from pointsman.addons.flowfilter import Filter, match, parse

TFilter = Filter

__all__ = ["TFilter", "match", "parse"]
