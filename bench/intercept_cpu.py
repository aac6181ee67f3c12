"""CPU of the engine for an HTTP/1.1 exchange in clear: inspected, intercepted, and with a listener that changes it.

    python bench/intercept_cpu.py [ROUNDS]

Each takes its turn in one process with three kinds of traffic: requests that repeat their fields, as most do; a cookie
and an ETag that differ in every message; and responses in two pieces, for which there is no short way.  Printed are the
medians in microseconds and their ratios to `inspect` of the same traffic.  No sockets and no TLS.
"""

from __future__ import annotations

import statistics
import sys
import time
from ipaddress import ip_address

from pointsman.engine.commands import Consult
from pointsman.engine.connection import Connection
from pointsman.engine.events import Connected, Consulted, Side
from pointsman.engine.flow_record import Flow
from pointsman.engine.messages import HttpFlow
from pointsman.engine.settings import Settings
from pointsman.policy.load import parse_policy
from pointsman.testing import authority

EXCHANGES = 3000
REQUEST = (
    b"GET /api/items?page=%d HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip, deflate\r\nCookie: session=%016d\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 23 Nov 2026 00:00:%02d GMT\r\nContent-Type: application/json\r\n"
    b'Cache-Control: no-store\r\nETag: "%016d"\r\nContent-Length: 1024\r\n\r\n' + bytes(1024)
)
TRAFFIC = ("fields repeat", "fields differ", "responses in two pieces")
NOBODY: frozenset[str] = frozenset()
CASES = {
    "inspect": ('default = "inspect"', NOBODY),
    "intercept": ('default = "intercept"', NOBODY),
    "intercept, two hooks change a header": ('default = "intercept"', frozenset(("request", "response"))),
}


def opened(policy: str, hooks: frozenset[str]) -> Connection:
    flow = Flow(1, 0.0, "/usr/bin/app", 1, (ip_address("192.0.2.1"), 80))
    settings = Settings(
        parse_policy(policy.encode(), "bench"), lambda alpn: authority.client_context(*alpn), hooks=lambda: hooks
    )
    connection = Connection(flow, settings)
    connection.start(0.0)
    connection.handle(Connected(), 0.0)
    return connection


def give(connection: Connection, side: Side, data: bytes) -> int:
    """As the server would: commands in order, an answer to each question.  Returns how many records came."""
    commands = list(connection.received(side, data, 1.0))
    for command in commands:  # it grows
        if isinstance(command, Consult):
            subject = command.subject
            assert isinstance(subject, HttpFlow)
            message = subject.response or subject.request
            message.headers["X-Seen"] = "yes"
            commands.extend(connection.handle(Consulted(command.number), 1.0))
    return sum(type(command).__name__ == "Report" for command in commands)


def messages(traffic: str) -> list[tuple[bytes, list[bytes]]]:
    found = []
    for at in range(EXCHANGES):
        mark = at if traffic == "fields differ" else 0
        response = RESPONSE % (at // 100, mark)
        end = response.index(b"\r\n\r\n") + 4
        pieces = [response[:end], response[end:]] if traffic == "responses in two pieces" else [response]
        found.append((REQUEST % (at, mark), pieces))
    return found


def measured(traffic: str, policy: str, hooks: frozenset[str]) -> float:
    """Microseconds of CPU for each exchange."""
    connection = opened(policy, hooks)
    pairs = messages(traffic)
    records = 0
    before = time.process_time()
    for request, pieces in pairs:
        records += give(connection, Side.DOWNSTREAM, request)
        for piece in pieces:
            records += give(connection, Side.UPSTREAM, piece)
    taken = time.process_time() - before
    assert records == EXCHANGES
    return taken / EXCHANGES * 1e6


def main(rounds: int) -> None:
    found: dict[tuple[str, str], list[float]] = {(traffic, name): [] for traffic in TRAFFIC for name in CASES}
    for _ in range(rounds):
        for traffic, name in found:
            found[traffic, name].append(measured(traffic, *CASES[name]))
    for (traffic, name), values in found.items():
        median, base = statistics.median(values), statistics.median(found[traffic, "inspect"])
        print(f"{traffic:25} {name:40} {median:7.1f} us  {median / base:5.2f} x inspect")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
