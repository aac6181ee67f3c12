"""`mitmproxy.net`: where older scripts find Headers."""

from __future__ import annotations
