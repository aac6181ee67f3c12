"""What an addon costs an HTTP/1.1 exchange, in memory: CPU of this process, variants interleaved, medians of rounds.

.venv/bin/python tools/bench_addons.py
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from pointsman.addons.files import AddonFiles
from pointsman.addons.host import AddonHost
from pointsman.addons.listener import Limits
from pointsman.engine.flow_record import Flow
from pointsman.engine.messages import HttpFlow, Request, Response, Subject
from pointsman.testing.memory import APP, ORIGIN, Rig

ROUNDS, EXCHANGES = 9, 3000
DESTINATION = ("192.0.2.1", 80)
ADDON = "def response(flow):\n    flow.response.headers['x-count'] = '1'\n"
REQUEST = b"GET /x HTTP/1.1\r\nHost: a.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: Mon, 23 Nov 2026 01:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 100\r\n\r\n" + b"x" * 100
)


def rig(listener: Callable[[str, Subject], object] | None) -> Rig:
    hooks = frozenset({"response"}) if listener else frozenset()
    return Rig('default = "intercept"', destination=DESTINATION, hooks=hooks, listener=listener)


def exchanges(one: Rig) -> float:
    """Microseconds of CPU for each."""
    started = time.process_time()
    for _ in range(EXCHANGES):
        one.app_sends(REQUEST)
        one.take(ORIGIN)
        one.origin_sends(RESPONSE)
        one.take(APP)
    one.records.clear()
    return (time.process_time() - started) / EXCHANGES * 1e6


async def in_thread(host: AddonHost, flow: HttpFlow) -> float:
    """Microseconds of CPU for each call of a hook that is not trusted."""
    started = time.process_time()
    for _ in range(EXCHANGES // 3):
        await host.ask("response", flow)
    return (time.process_time() - started) / (EXCHANGES // 3) * 1e6


def on_loop(host: AddonHost, flow: HttpFlow) -> float:
    started = time.process_time()
    for _ in range(EXCHANGES):
        host.run("response", flow, lambda: None)
    return (time.process_time() - started) / EXCHANGES * 1e6


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "addon.py"
        path.write_text(ADDON)
        # A busy machine makes any hook look slow now and then; here it must stay where it is.
        trusted = AddonHost(Limits(slow=60.0), ssl.create_default_context)
        untrusted = AddonHost(Limits(proving_calls=sys.maxsize), ssl.create_default_context)
        files = [AddonFiles(host, [str(path)], []) for host in (untrusted, trusted)]
        for one in files:
            await one.start()
        flow = example()
        for _ in range(2 * Limits().proving_calls):
            await trusted.ask("response", flow)

        def asked(hook: str, subject: Subject) -> None:
            if not trusted.run(hook, subject, lambda: None):
                raise RuntimeError("the hook is not trusted")

        def alone(_: str, subject: Subject) -> None:
            assert isinstance(subject, HttpFlow) and subject.response is not None
            subject.response.headers["x-count"] = "1"

        rigs = {"nobody asked": rig(None), "the same change without a host": rig(alone), "an addon": rig(asked)}
        times: dict[str, list[float]] = {name: [] for name in (*rigs, "hook on the loop", "hook in a thread")}
        for _ in range(ROUNDS):
            for name, one_rig in rigs.items():
                times[name].append(exchanges(one_rig))
            times["hook on the loop"].append(on_loop(trusted, flow))
            times["hook in a thread"].append(await in_thread(untrusted, flow))
        for one in files:
            await one.close()
    base = statistics.median(times["nobody asked"])
    for name, values in times.items():
        print(f"{name:34}{statistics.median(values):8.1f} us  x{statistics.median(values) / base:.2f}")


def example() -> HttpFlow:
    flow = Flow(1, 0.0, "/usr/bin/app", 1, (IPv4Address("192.0.2.1"), 80))
    headers = [(f"Header-{number}", "value" * 4) for number in range(5)]
    request, response = Request.make("GET", "http://a.example/x"), Response.make(200, b"x", headers)
    return HttpFlow(1, flow, "intercept", "default", request, response)


if __name__ == "__main__":
    asyncio.run(main())
