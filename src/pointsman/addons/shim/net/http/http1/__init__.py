"""`mitmproxy.net.http.http1`: messages as bytes."""

from __future__ import annotations

from pointsman.addons.export import request_bytes as assemble_request
from pointsman.addons.export import request_head as assemble_request_head
from pointsman.addons.export import response_bytes as assemble_response
from pointsman.addons.export import response_head as assemble_response_head

__all__ = ["assemble_request", "assemble_request_head", "assemble_response", "assemble_response_head"]
