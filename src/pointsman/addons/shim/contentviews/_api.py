"""`mitmproxy.contentviews._api`."""

from __future__ import annotations

from pointsman.addons.content_views import Contentview, InteractiveContentview, Metadata

__all__ = ["Contentview", "InteractiveContentview", "Metadata"]
