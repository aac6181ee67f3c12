"""Turn what a connection was into flow records: one per HTTP exchange, or one for the whole if there was none.

It counts and names; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import Flow, FlowRecord
from pointsman.engine.interception import Interception
from pointsman.engine.learned import Entry
from pointsman.engine.peek import Peeked
from pointsman.engine.rebuild import Rebuilt
from pointsman.engine.relay import Relay
from pointsman.policy.decision import Action, Decision


@dataclass(frozen=True, slots=True)
class _Known:
    """What the peek and the policy said, once they have."""

    action: str | None = None
    rule: str | None = None
    host: str | None = None
    protocol: str = "tcp"


class RecordMaker:
    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._address = str(flow.original_destination[0])
        self._started = 0.0
        self._known = _Known()
        self._reported = False
        self.note: str | None = None

    def start(self, now: float) -> None:
        self._started = now

    def decided(self, decision: Decision, peeked: Peeked) -> None:
        protocol = "tls" if peeked.hello is not None else "http/1.1" if peeked.head is not None else "tcp"
        self._known = _Known(decision.action.value, decision.rule_name, peeked.host, protocol)

    def relayed_as_learned(self, entry: Entry) -> None:
        self._known = replace(self._known, action=Action.RELAY.value, rule=f"learned: {entry.reason}")
        until = datetime.fromtimestamp(entry.until, UTC)
        self.note = f"not decrypted until {until:%Y-%m-%d %H:%M}Z: the app refused our certificate for this host"

    def relayed_by_listener(self) -> None:
        self._known = replace(self._known, action=Action.RELAY.value)
        self.note = "not decrypted: a listener to tls_clienthello asked for that"

    def wall(self, now: float) -> float:
        """Seconds since 1970, UTC."""
        return self._flow.time + (now - self._started)

    def exchanges(self, done: Iterable[Exchange], layer: Relay | Interception | Rebuilt) -> Iterator[FlowRecord]:
        for exchange in done:
            self._reported = True
            yield self._record(
                exchange.started,
                exchange.ended,
                host=exchange.host or self._known.host,
                protocol=layer.protocol,
                exchange=exchange,
                error=exchange.error,
            )

    def finish(
        self, layer: Relay | Interception | Rebuilt | None, now: float, error: str | None
    ) -> Iterator[FlowRecord]:
        """The last ones: exchanges that were under way, or the connection itself."""
        if layer is not None:
            layer.cut(now, error or "no response")
            yield from self.exchanges(layer.exchanges(), layer)
        if self._reported:
            return
        yield self._record(
            self._started,
            now,
            host=self._known.host,
            protocol=self._known.protocol,
            bytes_up=layer.bytes_up if layer is not None else 0,
            bytes_down=layer.bytes_down if layer is not None else 0,
            error=error,
        )

    def _record(
        self,
        started: float,
        ended: float,
        *,
        host: str | None,
        protocol: str,
        error: str | None,
        bytes_up: int = 0,
        bytes_down: int = 0,
        exchange: Exchange | None = None,
    ) -> FlowRecord:
        """One call makes it whole: at thirty thousand a second, copying a template costs more than the parsing."""
        known = self._known
        return FlowRecord(
            flow=self._flow.id,
            time=self.wall(started),
            app=self._flow.app,
            pid=self._flow.pid,
            address=self._address,
            port=self._flow.original_destination[1],
            host=host,
            decision=exchange.decision if exchange is not None and exchange.decision else known.action,
            rule=exchange.rule if exchange is not None and exchange.rule else known.rule,
            protocol=protocol,
            method=exchange.method if exchange is not None else None,
            path=exchange.path if exchange is not None else None,
            status=exchange.status if exchange is not None else None,
            bytes_up=exchange.bytes_up if exchange is not None else bytes_up,
            bytes_down=exchange.bytes_down if exchange is not None else bytes_down,
            duration_ms=round((ended - started) * 1000, 3),
            error=error,
            note=exchange.note if exchange is not None and exchange.note else self.note,
        )
