"""`ctx.master.commands.call("replay.client", [flow.copy()])`: ask again, as the flow says now.

Outside of any app's connection: the request hooks are asked, the request goes to the host that it names, the response
hooks are asked, and nobody gets the answer but them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from pointsman.addons.context import CommandError
from pointsman.addons.elsewhere import ClientContext, send_elsewhere
from pointsman.addons.host import AddonHost
from pointsman.engine.messages import HttpFlow

LIMIT = 16  # at a time
COMMAND = "replay.client"
_log = logging.getLogger(__name__)


class Replay:
    def __init__(self, host: AddonHost, client_context: ClientContext) -> None:
        self._host = host
        self._client_context = client_context
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    def start(self, flows: Iterable[HttpFlow]) -> None:
        """From any thread.  Raises CommandError for what is no HTTP flow, or has its body streamed."""
        for flow in flows:
            if not isinstance(flow, HttpFlow) or flow.request.raw_content is None:
                raise CommandError("only HTTP flows whose body is here can be replayed")
            self._loop.call_soon_threadsafe(self._start, flow)

    def _start(self, flow: HttpFlow) -> None:
        if len(self._tasks) >= LIMIT:
            _log.error("more than %d flows are replayed at a time; this one is not: %s", LIMIT, flow.request.pretty_url)
            return
        self._count += 1
        task = self._loop.create_task(self._replay(flow, self._count))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replay(self, flow: HttpFlow, number: int) -> None:
        flow.number, flow.is_replay, flow.response, flow.error, flow.killed = -number, "request", None, None, False
        request = flow.request
        request.timestamp_start = time.time()
        for hook in ("requestheaders", "request"):
            await self._host.ask(hook, flow)
        if flow.killed:
            return
        if flow.response is None:
            request.server = (request.host, request.port)
            await send_elsewhere(flow, self._client_context)
        for hook in ("responseheaders", "response"):
            await self._host.ask(hook, flow)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
