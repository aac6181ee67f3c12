"""`mitmproxy.utils`: what examples use of it."""

from __future__ import annotations
