"""`mitmproxy.addons`: of its own addons, those that scripts build on."""

from __future__ import annotations
