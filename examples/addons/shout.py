"""Change a body of any size as it passes, without ever holding it.

pointsman lab --addon examples/addons/shout.py -- curl https://example.com/
"""

from __future__ import annotations

from pointsman.addons.api import HttpFlow


def responseheaders(flow: HttpFlow) -> None:
    assert flow.response is not None
    if flow.response.headers.get("content-type", "").startswith("text/plain"):
        flow.response.stream = bytes.upper
