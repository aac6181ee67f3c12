"""`mitmproxy.contentviews`: accepted, and said to be of no use here."""

from __future__ import annotations

from pointsman.addons.content_views import (
    Contentview,
    InteractiveContentview,
    Metadata,
    TViewLine,
    TViewResult,
    View,
    add,
    format_dict,
    format_pairs,
    format_text,
    remove,
)

__all__ = [
    "Contentview", "InteractiveContentview", "Metadata", "TViewLine", "TViewResult", "View", "add", "format_dict",
    "format_pairs", "format_text", "remove",
]  # fmt: skip
