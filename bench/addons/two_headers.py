"""The addon of the benchmark: one header field on each request and each response.  Runs in mitmproxy as it is."""

from typing import Any


def request(flow: Any) -> None:
    flow.request.headers["x-bench"] = "1"


def response(flow: Any) -> None:
    flow.response.headers["x-bench"] = "1"
