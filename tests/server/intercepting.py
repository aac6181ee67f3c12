"""The server on real sockets with a listener of the test's own, and origins for it to stand before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pointsman.authority.leaf_cache import LeafCache
from pointsman.authority.revocations import Revocations
from pointsman.control.secrets import Secrets
from pointsman.engine.flow_record import FlowRecord
from pointsman.engine.messages import HttpFlow, Subject
from pointsman.engine.settings import Settings
from pointsman.policy.load import parse_policy
from pointsman.server.connection_task import Services
from pointsman.server.hooks import Hooks
from pointsman.server.limits import Limits
from pointsman.server.listener import listen
from pointsman.server.server import Server, mint_threads
from pointsman.server.upstream_dial import Upstreams
from pointsman.testing import authority
from pointsman.testing.system import FakeSystem, context_for
from pointsman.wire.redirect_context import encode_redirect_context


class Marking:
    """Writes into every request and response that it has seen them, at once or a turn of the loop later."""

    def __init__(self, *, later: bool = False, hooks: tuple[str, ...] = ("request", "response")) -> None:
        self._later = later
        self._hooks = frozenset(hooks)
        self.heard: list[str] = []

    @property
    def wanted(self) -> frozenset[str]:
        return self._hooks

    def run(self, hook: str, subject: Subject, done: Callable[[], None]) -> bool:
        self.heard.append(hook)
        if isinstance(subject, HttpFlow):
            if hook in ("request", "requestheaders"):
                subject.request.headers["X-Seen"] = "up"
            elif subject.response is not None and hook in ("response", "responseheaders"):
                subject.response.headers["X-Seen"] = "down"
            elif hook == "websocket_message":
                subject.messages[-1].content += b"!"
        if self._later:
            asyncio.get_running_loop().call_soon(done)
        return not self._later


@dataclass
class Intercepting:
    server: Server
    system: FakeSystem
    address: tuple[str, int]
    root_pem: Path
    records: list[FlowRecord] = field(default_factory=list)

    def redirect_to(self, port: int) -> None:
        self.system.redirects.everything = encode_redirect_context(context_for("127.0.0.1", port))


@asynccontextmanager
async def intercepting(
    directory: Path, hooks: Hooks | None = None, policy: str = 'default = "intercept"'
) -> AsyncIterator[Intercepting]:
    """It trusts the origins of `testing.authority`; its own root is in `root_pem`."""
    root_pem = directory / "proxy-root.pem"
    root_pem.write_text(authority.pem(authority.root("proxy")))
    system, stop = FakeSystem(), asyncio.Event()
    records: list[FlowRecord] = []
    leaves = LeafCache(authority.root("proxy"), now=lambda: datetime.now(UTC))
    with mint_threads() as threads:
        upstreams = Upstreams(authority.client_context, system.redirects, Secrets(directory), timeout=5.0)
        services = Services(system.redirects, upstreams, leaves, threads, records.append, lambda *_: None, hooks)
        settings = Settings(
            parse_policy(policy.encode(), "test.toml"),
            lambda alpn: authority.client_context(*alpn),
            revocations=Revocations(authority.root("proxy"), now=lambda: datetime.now(UTC)),
            hooks=lambda: hooks.wanted if hooks is not None else frozenset(),
        )
        server = Server(system, settings, services, Limits())
        listeners = listen(0)
        assert listeners.endpoints.v4 is not None, "IPv4 is always there"
        serving = asyncio.get_running_loop().create_task(server.serve(listeners.sockets, stop))
        address, port = listeners.endpoints.v4
        try:
            yield Intercepting(server, system, (str(address), port), root_pem, records)
        finally:
            stop.set()
            await serving
            listeners.close()
            assert server.counters.crashed == 0
