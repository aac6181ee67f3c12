"""For those who write addons: all that they need, under one name (docs/reference/addons.md).

from pointsman.addons.api import HttpFlow, ctx

def response(flow: HttpFlow) -> None:
    flow.response.headers["x-seen-by"] = flow.app or "nobody"
"""

from __future__ import annotations

from pointsman.addons.context import ALERT, CommandError, ctx
from pointsman.addons.flowfilter import Filter, match, parse
from pointsman.addons.listener import budget, concurrent
from pointsman.addons.options import Loader, OptionsError
from pointsman.engine.messages import (
    ConnectionNotice,
    Headers,
    HttpFlow,
    Request,
    Response,
    TcpMessage,
    WebSocketMessage,
)

__all__ = [
    "ALERT", "CommandError", "ConnectionNotice", "Filter", "Headers", "HttpFlow", "Loader", "OptionsError", "Request",
    "Response", "TcpMessage", "WebSocketMessage", "budget", "concurrent", "ctx", "match", "parse",
]  # fmt: skip
