"""`mitmproxy.websocket`."""

from __future__ import annotations

from pointsman.engine.messages import HttpFlow, WebSocketMessage

WebSocketData = HttpFlow

__all__ = ["WebSocketData", "WebSocketMessage"]
