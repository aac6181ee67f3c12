"""What a trapped connect() costs against an untrapped one: `python bench/lab_connects.py [ROUNDS]`.

Each round runs the same little client three times, in turn: outside the lab, in it to a destination that goes direct,
and in it to one that is redirected to a proxy.  Only connect() is timed: blocking sockets, loopback, one after the
other.  Printed: the median over all rounds, in microseconds, and the ratio.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import threading
from pathlib import Path

from pointsman.lab.machine import Machine
from pointsman.lab.network import Network

CONNECTS = 300
CLIENT = """
import json, socket, sys, time
times = []
for _ in range(int(sys.argv[3])):
    s = socket.socket()
    start = time.perf_counter()
    s.connect((sys.argv[1], int(sys.argv[2])))
    times.append(time.perf_counter() - start)
    s.close()
print(json.dumps(times))
"""
PROXY = Path(__file__).resolve().parents[1] / "tests/lab/programs/proxy.py"
DIRECT, REDIRECTED = "203.0.113.10", "203.0.113.80"


def serve() -> int:
    """Accept and close, in a thread.  Returns the port."""
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def accept() -> None:
        while True:
            server.accept()[0].close()

    threading.Thread(target=accept, daemon=True).start()
    return int(server.getsockname()[1])


def untrapped(port: int) -> list[float]:
    command = [sys.executable, "-c", CLIENT, "127.0.0.1", str(port), str(CONNECTS)]
    times: list[float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return times


async def trapped(machine: Machine, address: str) -> list[float]:
    command = [sys.executable, "-c", CLIENT, address, "80", str(CONNECTS)]
    program = await machine.spawn(command, stdout=subprocess.PIPE)
    assert program.stdout is not None
    output = await asyncio.to_thread(program.stdout.read)
    await program.wait()
    times: list[float] = json.loads(output)
    return times


async def main(rounds: int) -> None:
    port = serve()
    results: dict[str, list[float]] = {"untrapped": [], "trapped, direct": [], "trapped, redirected": []}
    async with Machine(network=Network.parse(maps=[f"{DIRECT}:80=127.0.0.1:{port}"])) as machine:
        rules = json.dumps([["REDIRECT", REDIRECTED, 80]])
        proxy = await machine.spawn([sys.executable, str(PROXY), rules, "60000"], stdout=subprocess.PIPE)
        assert proxy.stdout is not None
        await asyncio.to_thread(proxy.stdout.readline)
        drain = threading.Thread(target=proxy.stdout.read, daemon=True)
        drain.start()
        for _ in range(rounds):
            results["untrapped"] += await asyncio.to_thread(untrapped, port)
            results["trapped, direct"] += await trapped(machine, DIRECT)
            results["trapped, redirected"] += await trapped(machine, REDIRECTED)
    base = statistics.median(results["untrapped"])
    for name, times in results.items():
        median = statistics.median(times)
        print(f"{name:<22}{median * 1e6:8.0f} us   x{median / base:.1f}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
