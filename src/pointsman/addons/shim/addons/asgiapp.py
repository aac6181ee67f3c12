"""`mitmproxy.addons.asgiapp`."""

from __future__ import annotations

from pointsman.addons.hosted_app import ASGIApp, WSGIApp

__all__ = ["ASGIApp", "WSGIApp"]
