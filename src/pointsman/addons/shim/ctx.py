"""`mitmproxy.ctx`: whatever the running host has there now."""

from __future__ import annotations

from typing import Any

from pointsman.addons.context import ctx


def __getattr__(name: str) -> Any:
    return getattr(ctx, name)
