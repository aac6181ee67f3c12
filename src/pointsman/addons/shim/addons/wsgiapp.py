"""`mitmproxy.addons.wsgiapp`: where older scripts find it."""

from __future__ import annotations

from pointsman.addons.hosted_app import WSGIApp

__all__ = ["WSGIApp"]
