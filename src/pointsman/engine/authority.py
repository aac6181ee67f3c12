"""Hosts and ports as a URL writes them (RFC 3986 3.2)."""

from __future__ import annotations

from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def split_authority(authority: str) -> tuple[str, int | None]:
    """Host without brackets, and the port if a valid one is there."""
    authority = authority.rpartition("@")[2]
    if authority.startswith("["):
        host, _, rest = authority[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
        if ":" in port:  # an IPv6 address without its brackets
            return authority, None
    return host, int(port) if port.isascii() and port.isdigit() and int(port) <= 65535 else None


def joined_authority(scheme: str, host: str, port: int) -> str:
    """With brackets if it needs them, without a port that goes without saying."""
    written = f"[{host}]" if ":" in host else host
    return written if DEFAULT_PORTS.get(scheme) == port else f"{written}:{port}"


def split_url(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and request target.  Raises ValueError for what is no absolute http(s) URL."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"not an absolute http or https URL: {url!r}")
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query or url.partition("#")[0].endswith("?") else path
    port = parts.port if parts.port is not None else DEFAULT_PORTS[parts.scheme]
    return parts.scheme, parts.hostname, port, target
