"""Turn what a connection was into flow records: one per HTTP exchange, or one for the whole if there was none.

It counts and names; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pointsman.engine.flow_record import Flow, FlowRecord
from pointsman.engine.http1 import Exchange
from pointsman.engine.interception import Interception
from pointsman.engine.peek import Peeked
from pointsman.engine.relay import Relay
from pointsman.policy.decision import Decision


@dataclass(frozen=True, slots=True)
class _Known:
    """What the peek and the policy said, once they have."""

    decision: Decision | None = None
    host: str | None = None
    protocol: str = "tcp"


class RecordMaker:
    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._started = 0.0
        self._known = _Known()
        self._reported = False
        self.note: str | None = None

    def start(self, now: float) -> None:
        self._started = now

    def decided(self, decision: Decision, peeked: Peeked) -> None:
        protocol = "tls" if peeked.hello is not None else "http/1.1" if peeked.head is not None else "tcp"
        self._known = _Known(decision, peeked.host, protocol)

    def exchanges(self, layer: Relay | Interception) -> Iterator[FlowRecord]:
        for exchange in layer.exchanges():
            self._reported = True
            yield self._of_exchange(exchange, layer)

    def finish(self, layer: Relay | Interception | None, now: float, error: str | None) -> Iterator[FlowRecord]:
        """The last ones: exchanges that were under way, or the connection itself."""
        if layer is not None:
            layer.cut(now, error or "no response")
            yield from self.exchanges(layer)
        if self._reported:
            return
        yield replace(
            self._blank(self._started, now),
            protocol=self._known.protocol,
            bytes_up=layer.bytes_up if layer is not None else 0,
            bytes_down=layer.bytes_down if layer is not None else 0,
            error=error,
        )

    def _of_exchange(self, exchange: Exchange, layer: Relay | Interception) -> FlowRecord:
        return replace(
            self._blank(exchange.started, exchange.ended),
            host=exchange.host or self._known.host,
            protocol=layer.protocol,
            method=exchange.method,
            path=exchange.path,
            status=exchange.status,
            bytes_up=exchange.bytes_up,
            bytes_down=exchange.bytes_down,
            error=exchange.error,
        )

    def _blank(self, started: float, ended: float) -> FlowRecord:
        address, port = self._flow.original_destination
        decision = self._known.decision
        return FlowRecord(
            flow=self._flow.id,
            time=self._flow.time + (started - self._started),
            app=self._flow.app,
            pid=self._flow.pid,
            address=str(address),
            port=port,
            host=self._known.host,
            decision=decision.action.value if decision else None,
            rule=decision.rule_name if decision else None,
            protocol=self._known.protocol,
            duration_ms=round((ended - started) * 1000, 3),
            note=self.note,
        )
