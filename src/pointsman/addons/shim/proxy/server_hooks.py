"""`mitmproxy.proxy.server_hooks`."""

from __future__ import annotations

from pointsman.engine.messages import ConnectionNotice

ServerConnectionHookData = ConnectionNotice

__all__ = ["ServerConnectionHookData"]
