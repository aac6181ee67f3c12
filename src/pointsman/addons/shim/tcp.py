"""`mitmproxy.tcp`: a flow is the piece at hand, which is its own last message."""

from __future__ import annotations

from pointsman.engine.messages import TcpMessage

TCPFlow = TCPMessage = TcpMessage

__all__ = ["TCPFlow", "TCPMessage"]
