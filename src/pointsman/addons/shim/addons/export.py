"""`mitmproxy.addons.export`."""

from __future__ import annotations

from pointsman.addons.export import curl_command, raw, raw_request, raw_response

__all__ = ["curl_command", "raw", "raw_request", "raw_response"]
