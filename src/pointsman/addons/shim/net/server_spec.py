"""`mitmproxy.net.server_spec`: a proxy as scheme and address."""

from __future__ import annotations

from urllib.parse import urlsplit

from pointsman.engine.flow_facts import ServerSpec

_PORTS = {"http": 80, "https": 443}


def parse(server_spec: str, default_scheme: str) -> ServerSpec:
    """Of `[SCHEME://]HOST[:PORT]`.  Raises ValueError."""
    split = urlsplit(server_spec if "://" in server_spec else f"{default_scheme}://{server_spec}")
    port = split.port or _PORTS.get(split.scheme)
    if not split.hostname or port is None or split.path.strip("/") or split.query:
        raise ValueError(f"no server: {server_spec!r}")
    return ServerSpec(split.scheme, (split.hostname, port))


__all__ = ["ServerSpec", "parse"]
