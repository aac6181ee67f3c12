"""What a proxy that we asked for a tunnel did wrong, or would not do."""

from __future__ import annotations


class ProxyError(Exception):
    """Words for a flow record; never credentials."""

    def __init__(self, reason: str, *, about_target: bool = False) -> None:
        """`about_target`: the proxy works, and says so about what it was asked to connect to."""
        super().__init__(reason)
        self.about_target = about_target
