"""`mitmproxy.http`."""

from __future__ import annotations

from pointsman.engine.message_body import Message
from pointsman.engine.messages import Headers, HttpFlow, Request, Response

HTTPFlow = HttpFlow
HTTPResponse = Response

__all__ = ["HTTPFlow", "HTTPResponse", "Headers", "Message", "Request", "Response"]
