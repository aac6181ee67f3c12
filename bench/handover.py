"""Updates under load, in full: `python bench/handover.py [CLIENTS [UPDATES [PAUSE_MS]]]` (default 200, 10, 400).

Clients on kept and new connections, HTTP/1.1, HTTP/2 and WebSocket (Node), that never retry; then one `pointsman run
--takeover` after the other.  Printed: requests, failures, connections by who answered them, and for each update how
long it took and how long the new instance was on probation, when what would be inspected goes direct.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.lab.load import TIMEOUT, open_load

from pointsman.lab.machine import Process


async def main(clients: int, updates: int, pause_ms: int) -> None:
    probations: list[float] = []
    durations: list[float] = []
    async with open_load() as load:
        await load.proxy()
        await load.start_clients(clients, pause_ms)
        for number in range(updates):
            at: dict[str, float] = {}

            def step(name: str, _: Process, at: dict[str, float] = at) -> None:
                at[name] = time.monotonic()

            started = time.monotonic()
            await load.proxy("--takeover", on_step=step)
            durations.append(time.monotonic() - started)
            probations.append(at["active"] - at["listening"])
            await load.until(2 * clients)
            told = await load.report()
            print(f"update {number + 1}: {told['requests']} requests, {len(told['failures'])} failures", flush=True)
        told = await load.end_clients()
        started = time.monotonic()
        statuses = [await asyncio.wait_for(proxy.ended(), TIMEOUT) for proxy in load.proxies[:-1]]
        print(f"requests {told['requests']}: {told['kinds']}")
        print(f"failures {len(told['failures'])}: {told['failures'][:10]}")
        print(f"connections {told['connections']}, by issuer of their certificate: {told['issuers']}")
        for name, values in (("an update takes", durations), ("probation lasts", probations)):
            print(f"{name} {statistics.median(values) * 1000:.0f} ms (median; worst {max(values) * 1000:.0f})")
        print(f"relieved instances ended with {statuses}, {time.monotonic() - started:.1f} s after the last client")
        await load.proxies[-1].stop()


if __name__ == "__main__":
    asyncio.run(main(*map(int, (*sys.argv[1:4], *("200", "10", "400")[len(sys.argv) - 1 :]))))
