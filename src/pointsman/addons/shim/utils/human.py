"""`mitmproxy.utils.human`: numbers, times and addresses for people."""

from __future__ import annotations

import time
from datetime import datetime
from ipaddress import IPv6Address, ip_address

_UNITS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def format_address(address: tuple[str, int] | None) -> str:
    """`host:port`, IPv6 in brackets."""
    if address is None:
        return "<no address>"
    host, port = address[:2]
    try:
        parsed = ip_address(host)
    except ValueError:
        return f"{host}:{port}"
    if isinstance(parsed, IPv6Address):
        return f"{parsed.ipv4_mapped}:{port}" if parsed.ipv4_mapped is not None else f"[{parsed}]:{port}"
    return f"*:{port}" if parsed.is_unspecified else f"{parsed}:{port}"


def pretty_size(size: int) -> str:
    """Bytes: `1.5k`."""
    number, unit = float(size), "b"
    for unit in _UNITS:
        if number < 1024 or unit == "t":
            break
        number /= 1024
    return f"{number:.1f}{unit}" if number < 100 and number != int(number) else f"{int(number)}{unit}"


def parse_size(text: str | None) -> int | None:
    """`10k` is 10240.  Raises ValueError."""
    if text is None:
        return None
    unit = text[-1:].lower()
    return int(text[:-1]) * _UNITS[unit] if unit in _UNITS else int(text)


def pretty_duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds >= 100:
        return f"{seconds:.0f}s"
    if seconds >= 1:
        return f"{seconds:.3g}s"
    return f"{seconds * 1000:.0f}ms"


def format_timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def format_timestamp_with_milli(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


__all__ = [
    "format_address", "format_timestamp", "format_timestamp_with_milli", "parse_size", "pretty_duration", "pretty_size",
]  # fmt: skip
