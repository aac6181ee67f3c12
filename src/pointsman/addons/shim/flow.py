"""`mitmproxy.flow`."""

from __future__ import annotations

from pointsman.engine.messages import ConnectionNotice, FlowError, HttpFlow, TcpMessage

Flow = (HttpFlow, TcpMessage, ConnectionNotice)
"""For isinstance; our flows share no base class."""
Error = FlowError

__all__ = ["Error", "Flow"]
