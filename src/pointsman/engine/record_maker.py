"""Turn what a connection was into flow records: one per HTTP exchange, or one for the whole if there was none.

It counts and names; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import METHOD_LIMIT, Flow, FlowRecord
from pointsman.engine.interception import Interception
from pointsman.engine.learned import ORIGINS, Entry
from pointsman.engine.peek import Peeked
from pointsman.engine.rebuild import Rebuilt
from pointsman.engine.relay import Relay
from pointsman.policy.decision import Action, Decision


class _Known(Struct, frozen=True, gc=False):
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
        self.upstream: str | None = None

    def start(self, now: float) -> None:
        self._started = now

    def decided(self, decision: Decision, peeked: Peeked) -> None:
        protocol = "tls" if peeked.hello is not None else "http/1.1" if peeked.head is not None else "tcp"
        if peeked.is_http2:
            protocol = "h2c"
        self._known = _Known(decision.action.value, decision.rule_name, peeked.host, protocol)

    def relayed_as_learned(self, entry: Entry) -> None:
        self._known = replace(self._known, action=Action.RELAY.value, rule=f"learned: {entry.reason}")
        until = datetime.fromtimestamp(entry.until, UTC)
        why = entry.reason if entry.reason in ORIGINS else "the app refused our certificate for this host"
        self.note = f"not decrypted until {until:%Y-%m-%d %H:%M}Z: {why}"

    def stepped_aside(self, reason: str) -> None:
        """A connection that was to be decrypted is relayed after all."""
        self._known = replace(self._known, action=Action.RELAY.value, rule=f"learned: {reason}")
        self.note = f"not decrypted: {reason}"

    def beyond_our_root(self, name: str) -> None:
        self._known = replace(self._known, action=Action.RELAY.value)
        self.note = f"not decrypted: {name} is not among the names that our root may sign for"

    def relayed_by_listener(self) -> None:
        self._known = replace(self._known, action=Action.RELAY.value)
        self.note = "not decrypted: a listener to tls_clienthello asked for that"

    def wall(self, now: float) -> float:
        """Seconds since 1970, UTC."""
        return self._flow.time + (now - self._started)

    def exchanges(self, done: Iterable[Exchange], layer: Relay | Interception | Rebuilt) -> list[FlowRecord]:
        """Every field by position: at thirty thousand a second, matching names costs more than all the rest."""
        self._reported = True
        flow, known, protocol = self._flow, self._known, layer.protocol
        records = []
        for exchange in done:
            started = exchange.started
            record = FlowRecord(
                flow.id,
                flow.time + (started - self._started),
                flow.app,
                flow.pid,
                self._address,
                flow.original_destination[1],
                exchange.host or known.host,
                exchange.decision or known.action,
                exchange.rule or known.rule,
                protocol,
                exchange.method[:METHOD_LIMIT],
                exchange.path,
                exchange.status,
                exchange.bytes_up,
                exchange.bytes_down,
                round((exchange.ended - started) * 1000, 3),
                exchange.error,
                self.upstream,
                exchange.note or self.note,
            )
            records.append(record)
        return records

    def finish(self, layer: Relay | Interception | Rebuilt | None, now: float, error: str | None) -> list[FlowRecord]:
        """The last ones: exchanges that were under way, or the connection itself."""
        if layer is not None:
            layer.cut(now, error or "no response")
            done = layer.exchanges()
            if done:
                return self.exchanges(done, layer)
        if self._reported:
            return []
        return [self._of_connection(layer, now, error)]

    def _of_connection(self, layer: Relay | Interception | Rebuilt | None, now: float, error: str | None) -> FlowRecord:
        flow, known = self._flow, self._known
        return FlowRecord(
            flow.id,
            flow.time,
            flow.app,
            flow.pid,
            self._address,
            flow.original_destination[1],
            known.host,
            known.action,
            known.rule,
            known.protocol,
            None,  # method, path, status: those of exchanges
            None,
            None,
            layer.bytes_up if layer is not None else 0,
            layer.bytes_down if layer is not None else 0,
            round((now - self._started) * 1000, 3),
            error,
            self.upstream,
            self.note,
        )
