"""`mitmproxy.proxy`: the few names that hooks are annotated with."""

from __future__ import annotations
