"""`mitmproxy.tls`."""

from __future__ import annotations

from pointsman.engine.flow_facts import HelloFacts
from pointsman.engine.messages import ConnectionNotice

ClientHelloData = TlsData = ConnectionNotice
ClientHello = HelloFacts

__all__ = ["ClientHello", "ClientHelloData", "TlsData"]
