"""The addon of the benchmark: one header field on each request and each response.  Runs in mitmproxy as it is."""


def request(flow):
    flow.request.headers["x-bench"] = "1"


def response(flow):
    flow.response.headers["x-bench"] = "1"
