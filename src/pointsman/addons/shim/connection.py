"""`mitmproxy.connection`."""

from __future__ import annotations

from pointsman.engine.flow_facts import ClientFacts, ServerFacts

Client = ClientFacts
Server = ServerFacts
Connection = (ClientFacts, ServerFacts)

__all__ = ["Client", "Connection", "Server"]
