"""Say in a header of each answer which program asked for it: what a proxy that is told by the kernel knows.

pointsman lab --addon examples/addons/who_asked.py -- curl -i https://example.com/
"""

from __future__ import annotations

from pointsman.addons.api import HttpFlow


def response(flow: HttpFlow) -> None:
    assert flow.response is not None
    flow.response.headers["x-asked-by"] = f"{flow.app or 'unknown'} (PID {flow.pid}), rule {flow.rule!r}"
