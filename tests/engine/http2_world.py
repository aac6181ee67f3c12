"""An app and an origin on python-hyper's h2, with the engine's rebuild between them, all in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

import pytest

from pointsman.engine.commands import Abort, Close, Command, Consult, End, Send
from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import Flow
from pointsman.engine.messages import HttpFlow, Subject
from pointsman.engine.rebuild import Context
from pointsman.engine.rebuild_http2 import Http2Rebuild
from pointsman.engine.request_policy import RequestPolicy
from pointsman.policy.load import parse_policy
from pointsman.policy.match import Connection, evaluate
from pointsman.policy.rules import Detected, Protocol

h2_connection = pytest.importorskip("h2.connection", reason="the oracle of these tests, in the dev group")
from h2 import events  # noqa: E402 - only once it is known to be there
from h2.config import H2Configuration  # noqa: E402

__all__ = ["APP", "ORIGIN", "REQUEST", "Listener", "World", "events"]
APP, ORIGIN = Side.DOWNSTREAM, Side.UPSTREAM
REQUEST = [(":method", "GET"), (":scheme", "https"), (":path", "/x"), (":authority", "a.example")]


def context_of(policy: str, hooks: frozenset[str]) -> Context:
    rules = parse_policy(policy.encode(), "test.toml")
    flow = Flow(1, 1_700_000_000.0, "/usr/bin/app", 4711, (ip_address("192.0.2.1"), 443))
    subject = Connection(flow.app, Protocol.TCP, *flow.original_destination, host="a.example", detected=Detected.TLS)
    decision = evaluate(rules, subject)
    return Context(
        flow, decision, RequestPolicy(rules, subject, decision), "https", "a.example", lambda now: now, lambda: hooks
    )


class World:
    def __init__(
        self,
        policy: str = 'default = "intercept"',
        *,
        hooks: frozenset[str] = frozenset(),
        listener: Callable[[str, Any], object] | None = None,
        cut: int = 1 << 20,
    ) -> None:
        """`cut`: bytes go in pieces of this size.  Without a listener the test answers (`answer`)."""
        self.app = h2_connection.H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.origin = h2_connection.H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.heard: dict[Side, list[Any]] = {APP: [], ORIGIN: []}
        """Events of h2."""
        self.raw = {APP: bytearray(), ORIGIN: bytearray()}
        """What each end has received."""
        self.consults: list[Consult] = []
        self.ended: set[Side] = set()
        self.over = False
        self.now = 0.0
        self.acknowledges = True
        """The ends give credit for DATA at once."""
        self.rebuild = Http2Rebuild(context_of(policy, hooks))
        self._listener = listener
        self._cut = cut
        self.app.initiate_connection()
        self.origin.initiate_connection()
        self._do(self.rebuild.start(0.0))
        self.pump()

    def peer(self, side: Side) -> Any:
        return self.app if side is APP else self.origin

    def pump(self) -> None:
        """Until nobody has anything to say."""
        moved = True
        while moved:
            moved = False
            for side in Side:
                data = self.peer(side).data_to_send()
                for at in range(0, len(data), self._cut):
                    moved = True
                    if self.rebuild.failure is None and not self.over:
                        self._do(self.rebuild.receive(side, data[at : at + self._cut], self.now))

    def send_raw(self, side: Side, data: bytes) -> None:
        self._do(self.rebuild.receive(side, data, self.now))

    def answer(self) -> None:
        self._do(self.rebuild.consulted(self.consults.pop(0).number, self.now))
        self.pump()

    def of(self, side: Side, kind: type) -> list[Any]:
        return [event for event in self.heard[side] if isinstance(event, kind)]

    def body(self, side: Side, stream: int) -> bytes:
        return b"".join(e.data for e in self.of(side, events.DataReceived) if e.stream_id == stream)

    def request(self, stream: int = 1, *, end: bool = True, **changes: str) -> None:
        fields = [(name, changes.get(name[1:], value)) for name, value in REQUEST]
        self.app.send_headers(stream, fields, end_stream=end)
        self.pump()

    def respond(self, stream: int = 1, body: bytes = b"ok", *, end: bool = True) -> None:
        self.origin.send_headers(stream, [(":status", "200")])
        self.origin.send_data(stream, body, end_stream=end)
        self.pump()

    def exchanges(self) -> list[Exchange]:
        return self.rebuild.take()

    def _do(self, commands: Iterable[Command]) -> None:
        for command in commands:
            match command:
                case Send(side, data):
                    self._hear(side, data)
                case Consult(number, hook, subject):
                    if self._listener is None:
                        self.consults.append(command)
                    else:
                        self._listener(hook, subject)
                        self._do(self.rebuild.consulted(number, self.now))
                case End(side):
                    self.ended.add(side)
                case Close() | Abort():
                    self.over = True
                case _:
                    raise AssertionError(command)

    def _hear(self, side: Side, data: bytes) -> None:
        peer = self.peer(side)
        self.raw[side] += data
        if self.of(side, events.ConnectionTerminated):
            return  # h2 takes nothing after a GOAWAY, which RFC 9113 does not ask of it
        for event in peer.receive_data(data):
            self.heard[side].append(event)
            if self.acknowledges and isinstance(event, events.DataReceived) and event.flow_controlled_length:
                peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)


class Listener:
    def __init__(self, **changes: Callable[[HttpFlow], object]) -> None:
        self.heard: list[str] = []
        self._changes = changes

    def __call__(self, hook: str, subject: Subject) -> None:
        self.heard.append(hook)
        assert isinstance(subject, HttpFlow)
        if hook in self._changes:
            self._changes[hook](subject)
