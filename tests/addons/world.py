"""An addon host in the test's own loop, and flows for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from pointsman.addons.files import AddonFiles
from pointsman.addons.host import AddonHost
from pointsman.addons.listener import Limits
from pointsman.engine.flow_record import Flow
from pointsman.engine.messages import Headers, HttpFlow, Request, Response, Subject

PATIENCE = 60.0  # seconds until a test that hangs fails
APP = "/usr/bin/curl"


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(test, PATIENCE))


def connection(number: int = 7) -> Flow:
    return Flow(number, 1000.0, APP, 4242, (IPv4Address("203.0.113.10"), 443))


def http_flow(
    url: str = "https://example.com/path?a=1",
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: object = (),
    status: int | None = None,
    answer: bytes = b"",
    answer_headers: object = (),
) -> HttpFlow:
    request = Request.make(method, url, body, headers)
    response = None if status is None else Response.make(status, answer, answer_headers)
    return HttpFlow(1, connection(), "intercept", "default", request, response)


@dataclass
class World:
    host: AddonHost
    files: AddonFiles

    async def ask(self, hook: str, subject: Subject) -> None:
        """As the engine does; returns when the flow may go on."""
        done = asyncio.Event()
        calls = []

        def over() -> None:
            calls.append(hook)
            done.set()

        if not self.host.run(hook, subject, over):
            await done.wait()
            assert calls == [hook], "called once"

    async def ask_inline(self, hook: str, subject: Subject) -> None:
        """Often enough that the hook is called on the loop from then on."""
        for _ in range(self.host.limits.proving_calls + 50):
            if self.host.run(hook, subject, lambda: None):
                return
            await self.ask(hook, subject)
        raise AssertionError(f"{hook} has not proved fast")


def plain_context() -> ssl.SSLContext:
    return ssl.create_default_context()


@asynccontextmanager
async def world(
    *sources: Path | str, options: Sequence[str] = (), limits: Limits | None = None
) -> AsyncIterator[World]:
    host = AddonHost(limits or Limits(), plain_context)
    files = AddonFiles(host, [str(source) for source in sources], options)
    try:
        await files.start()
        await files.running(lambda: None)
        yield World(host, files)
    finally:
        await files.close()


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


__all__ = ["Headers", "World", "connection", "http_flow", "run", "world", "written"]
