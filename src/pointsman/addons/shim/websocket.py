"""`mitmproxy.websocket`."""

from __future__ import annotations

from pointsman.engine.messages import WebSocketData, WebSocketMessage

__all__ = ["WebSocketData", "WebSocketMessage"]
