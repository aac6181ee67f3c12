"""An addon that computes for a while at each request: what it costs dwarfs client and origin, so that the load of a
benchmark on two cores is the proxy's alone."""

from typing import Any

STEPS = 20_000


def request(flow: Any) -> None:
    flow.request.headers["x-sum"] = str(sum(range(STEPS)))
