"""`mitmproxy.connection`."""

from __future__ import annotations

from pointsman.engine.flow_facts import ClientFacts, ConnectionFacts, ServerFacts

Address = tuple[str, int]
Client = ClientFacts
Server = ServerFacts
Connection = ConnectionFacts

__all__ = ["Address", "Client", "Connection", "Server"]
