"""The stack of one connection: peek → policy → relay or interception, and a record at the end.

Sans-I/O: events and the time come in, commands go out.  It decides when to dial, when enough is known for the policy,
which layer carries the bytes, and when it is over.  It must not know what a socket is.

    PEEKING ──▶ DECIDED ──▶ RUNNING ──▶ CLOSING          (a block, an error, a stop lead to CLOSING from anywhere)
       │  what the app says     │ upstream connected
       └─ or that the origin speaks first

Dialling begins at once unless a rule that may still apply blocks, or asks for another proxy: then nothing leaves the
machine until the app has spoken, or PEEK_TIMEOUT has shown that it waits for the origin to speak.  If the app speaks
after all, and the decision asks for another way than the one that was dialled, that is dropped and dialled anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import assert_never

from pointsman.engine.commands import Abort, Close, Command, Dial, Learn, Report, Send
from pointsman.engine.events import (
    DOWNSTREAM,
    UPSTREAM,
    Congested,
    Connected,
    ConnectFailed,
    Consulted,
    Drained,
    Ended,
    Event,
    LeafFailed,
    LeafReady,
    Lost,
    Received,
    Side,
    Stopping,
)
from pointsman.engine.exchange import MORE
from pointsman.engine.flow_record import Flow, FlowRecord
from pointsman.engine.interception import Interception
from pointsman.engine.layer_choice import REBUILDS, Layer, choose_layer
from pointsman.engine.notices import SERVER_NUMBER, Notices
from pointsman.engine.pages import BLOCK_PAGE, GATEWAY_PAGE
from pointsman.engine.pauses import Pauses
from pointsman.engine.peek import PEEK_TIMEOUT, Peek, Peeked
from pointsman.engine.rebuild import Rebuilt
from pointsman.engine.rebuild_tls import RebuiltInterception
from pointsman.engine.record_maker import RecordMaker
from pointsman.engine.relay import Relay
from pointsman.engine.revocations import is_asked_for, response
from pointsman.engine.settings import Settings
from pointsman.engine.subject import subject_of
from pointsman.policy.decision import Action, Decision
from pointsman.policy.match import Address, evaluate, possible
from pointsman.policy.upstreams import Upstream
from pointsman.wire.http2_frames import is_greeting
from pointsman.wire.tls_alert import Alert, fatal_alert

ATTEMPTS_MARGIN = 1.0  # seconds by which an upstream, which keeps the dial's time itself, may be late
HELD_LIMIT = 64 * 1024  # bytes that wait for the dial; then the app is paused


_NOTHING = Peeked(b"")


class _Stage(Enum):
    PEEKING = auto()
    DECIDED = auto()
    RUNNING = auto()
    CLOSING = auto()


class Connection:
    __slots__ = (
        "_active", "_began_dial", "_connected", "_decision", "_destination", "_dialled", "_downstream_ended",
        "_early", "_flow", "_held", "_is_limited", "_last_moment", "_layer", "_must_relay", "_notices", "_pauses",
        "_peek", "_peeked", "_reached", "_rebuilds", "_records", "_settings", "_settled", "_stage", "_stage_deadline",
        "_told_accepted", "_upstream", "_wanted_dial", "carrier", "closing",
    )  # fmt: skip

    def __init__(self, flow: Flow, settings: Settings) -> None:
        self._flow = flow
        self._settings = settings
        self._is_limited = settings.max_bytes != float("inf")
        self._stage = _Stage.PEEKING
        self.closing = False
        """Asked after each event; the same as the last stage."""
        self._peek = Peek()
        self._peeked = _NOTHING
        self._held = bytearray()
        self._downstream_ended = False
        self._dialled = False
        self._connected = False
        self._upstream: Upstream | None = None
        """The one that was dialled through."""
        self._decision: Decision | None = None
        self._settled: Decision | None = None
        """Whatever the app may say, it is this."""
        self._layer: Layer | None = None
        self.carrier: Relay | Interception | None = None
        """Once the layer only carries: `received` by the shortest way is its `carry`, which gives what goes to the
        other side, and then `take_news` if it has `news`.  Without news `deadline` only moves later, so that nobody
        needs to look at it."""
        self._rebuilds = False
        """The layer may pause sides at any time, and has questions."""
        self._must_relay = False
        """Decrypting was tried, and cannot be."""
        self._told_accepted = False
        self._early = bytearray()
        """What the origin has sent while a listener to `tls_clienthello` is asked, or an HTTP/2 app is awaited."""
        self._pauses = Pauses()
        self._records = RecordMaker(flow)
        self._notices = Notices(flow, settings.hooks, self._records.wall)
        self._wanted_dial: tuple[Upstream | None, str | None] | None = None
        """While a listener to `server_connect` is asked."""
        self._destination: tuple[Address, int] | None = None
        """Where such a listener wants it dialled to."""
        self._began_dial = self._reached = 0.0
        self._active = 0.0
        self._last_moment = float("inf")
        self._stage_deadline: float | None = None
        """Of the quiet peek, the dial, or the closing."""

    def start(self, now: float) -> list[Command]:
        self._active = now
        self._last_moment = now + self._settings.life_timeout
        self._records.start(now)
        decisions = possible(self._settings.policy, subject_of(self._flow, None))
        if len(decisions) == 1:
            self._settled = decisions[0]
        upstreams = [self._upstream_of(decision) for decision in decisions]
        by_name = upstreams[0] is not None and upstreams[0].asks_by_name
        if len(decisions) == 1 and not decisions[0].action.decrypts and not by_name:
            return self._decide(_NOTHING, now)  # nothing it might say changes this, so nobody reads it
        actions = {decision.action for decision in decisions}
        if any(upstreams) or Action.BLOCK in actions or (Action.INTERCEPT in actions and self._notices.wants_server()):
            self._stage_deadline = now + PEEK_TIMEOUT
            return []
        return self._dial(now, None)

    @property
    def app(self) -> str | None:
        return self._flow.app

    @property
    def deadline(self) -> float:
        """When to call `tick`, at the latest.  Moves later as bytes flow; it costs nothing to tick too early."""
        if self.closing:
            return self._stage_deadline or 0.0
        if self.carrier is not None:
            self._active = max(self._active, self.carrier.moved)
        deadline = min(self._active + self._settings.idle_timeout, self._last_moment)
        other = self._stage_deadline
        if other is not None and other < deadline:
            deadline = other
        other = self._peek.deadline if self._layer is None else self._layer.handshake_deadline
        return other if other is not None and other < deadline else deadline

    def handle(self, event: Event, now: float) -> Sequence[Command]:
        if self.closing:
            return ()
        match event:
            case Received(side, data):
                return self.received(side, data, now)
            case Ended(side):
                self._active = now
                return self._ended(side, now)
            case Connected(via):
                self._active = now
                if self._upstream is not None and via is not None:
                    self._records.upstream = f"{self._upstream.name} ({via})"
                return self._upstream_connected(now)
            case Consulted(number):
                return self._consulted(number, now)
            case Congested(side):
                if isinstance(self._layer, REBUILDS):
                    self._layer.congested(side)
                return self._pauses.pause(side.other, "congestion")
            case Drained(side):
                commands = self._pauses.resume(side.other, "congestion")
                if isinstance(self._layer, REBUILDS):
                    commands += self._after(self._layer.drained(side, now), now)
                return commands
            case ConnectFailed(error):
                return self._dial_failed(now, f"dial: {error}")
            case LeafReady(context):
                assert isinstance(self._layer, Interception), "only an interception asks for a leaf"
                return self._after(self._layer.leaf_ready(context, now), now)
            case LeafFailed(error):
                assert isinstance(self._layer, Interception), "only an interception asks for a leaf"
                return self._after(self._layer.leaf_failed(error), now)
            case Lost(side, error):
                if isinstance(self._layer, Interception):
                    if not self._layer.needs(side):
                        return []
                    self._layer.lost(side)
                return self._over(now, f"{side.value} lost: {error}", Abort())
            case Stopping():
                return self._over(now, "the proxy stopped", Abort())
            case _:
                assert_never(event)

    def received(self, side: Side, data: bytes, now: float) -> Sequence[Command]:
        """`Received` without the value: there is one for every chunk of bytes."""
        if self.closing:
            return ()
        self._active = now
        return self._received(side, data, now)

    def take_news(self, now: float) -> tuple[Sequence[FlowRecord], Sequence[Command]]:
        """What else follows from what was carried: records to be reported, and what is to be done."""
        layer = self.carrier
        assert layer is not None, "it has carried"
        news, layer.news = layer.news, 0
        if news == MORE:
            return (), self._after(layer.take_commands(), now)
        return self._records.exchanges(layer.exchanges(), layer), ()

    def tick(self, now: float) -> Sequence[Command]:
        """Harmless at any time."""
        if now < self.deadline:
            return ()
        if self.closing:
            self._stage_deadline = now + self._settings.close_timeout
            return (Abort(),)
        if now >= self._active + self._settings.idle_timeout:
            return self._over(now, f"idle for {self._settings.idle_timeout:g} s", Abort())
        if now >= self._last_moment:
            return self._over(now, f"open for {self._settings.life_timeout:g} s, which is the limit", Abort())
        if self._layer is not None and self._layer.handshake_deadline is not None:
            assert not isinstance(self._layer, Relay), "a relay waits for nothing"
            return self._after(
                self._layer.late(now) if isinstance(self._layer, REBUILDS) else self._layer.handshake_late(),
                now,
            )
        if self._dialled and not self._connected and now >= (self._stage_deadline or 0.0):
            return self._dial_failed(now, f"dial: no answer within {self._settings.dial_timeout:g} s")
        awaited = self._early and self._stage is _Stage.PEEKING
        peeked = self._peek.give_up() if awaited else self._peek.tick(now)
        if peeked is not None:
            return self._decide(peeked, now)
        # The app is silent: perhaps the origin speaks first.  What is decided if it does says which way to go.
        return self._dial(now, self._upstream_of(self._evaluated(_NOTHING)))

    # Peeking and deciding.

    def _received(self, side: Side, data: bytes, now: float) -> list[Command]:
        if self._layer is not None:
            return self._after(self._layer.receive(side, data, now), now)
        if side is UPSTREAM and (self._notices.is_asking or self._greets(data, now)):
            self._early += data
            return self._pauses.pause(side, "hello") if len(self._early) >= HELD_LIMIT else []
        if side is UPSTREAM:  # it speaks first, so whatever the app has sent is not a whole TLS or HTTP request
            return [*self._decide(self._peek.give_up(), now), *self.handle(Received(side, data), now)]
        if self._stage is _Stage.PEEKING:
            if not self._dialled or self._early:
                self._stage_deadline = None  # not silent: the peek's own deadline holds now
            peeked = self._peek.receive(data, now)
            return self._decide(peeked, now) if peeked is not None else []
        self._held += data
        return self._pauses.pause(DOWNSTREAM, "dial") if len(self._held) >= HELD_LIMIT else []

    def _greets(self, data: bytes, now: float) -> bool:
        """An HTTP/2 server speaks at once (RFC 9113 3.4): what the app says tells what this is, if it comes soon."""
        if self._stage is not _Stage.PEEKING or not (self._early or is_greeting(data)):
            return False
        if not self._early and self._peek.deadline is None:
            self._stage_deadline = now + PEEK_TIMEOUT
        return True

    def _ended(self, side: Side, now: float) -> list[Command]:
        if self._layer is not None:
            return self._after(self._layer.end(side, now), now)
        if side is UPSTREAM:
            if self._notices.is_asking:
                return self._over(now, "the origin closed before the TLS handshake", Abort())
            return [*self._decide(self._peek.give_up(), now), *self.handle(Ended(side), now)]
        self._downstream_ended = True
        return self._decide(self._peek.give_up(), now) if self._stage is _Stage.PEEKING else []

    def _decide(self, peeked: Peeked, now: float) -> list[Command]:
        self._peeked = peeked
        self._held += peeked.held
        self._peek.deadline = None
        if self._connected:
            self._stage_deadline = None
        self._decision = self._settled or self._evaluated(peeked)
        self._records.decided(self._decision, peeked)
        self._stage = _Stage.DECIDED
        if self._decision.action is Action.BLOCK:
            if peeked.head is not None:
                return [Send(DOWNSTREAM, BLOCK_PAGE), *self._over(now, None, Close())]
            return self._over(now, None, Abort())
        if peeked.head is not None and self._settings.revocations is not None and is_asked_for(peeked.head):
            self._records.note = "answered by the proxy: the list of revoked certificates of its root"
            page = response(self._settings.revocations())
            return [Send(DOWNSTREAM, page), *self._over(now, None, Close())]
        notices = self._notices.decided(self._decision, peeked)
        dial = self._dial(now, self._upstream_of(self._decision), peeked.host)
        return [*notices, *(self._run(now) if self._connected else dial)]

    def _evaluated(self, peeked: Peeked) -> Decision:
        return evaluate(self._settings.policy, subject_of(self._flow, peeked))

    def _upstream_of(self, decision: Decision) -> Upstream | None:
        return self._settings.policy.upstream_of(decision.rule)

    # Dialling and carrying.

    def _dial(self, now: float, upstream: Upstream | None, host: str | None = None) -> list[Command]:
        """Nothing, if it is dialled this way already."""
        if self._dialled and upstream == self._upstream:
            return []
        asking = self._ask_server(now) if not self._dialled else []
        if self._notices.is_asking_server:
            self._wanted_dial, self._stage_deadline = (upstream, host), None
            return asking
        self._dialled, self._connected, self._upstream = True, False, upstream
        self._began_dial = now
        self._early.clear()  # of the connection that this one replaces
        self._pauses.forget(UPSTREAM)
        self._notices.dialled(upstream, now)
        self._records.upstream = upstream.name if upstream is not None else None
        self._stage_deadline = now + self._settings.dial_timeout + (ATTEMPTS_MARGIN if upstream is not None else 0.0)
        return [Dial(upstream, host, self._destination)]

    def _ask_server(self, now: float) -> list[Command]:
        if not self._notices.wants_server():
            return []
        return self._notices.ask_server(self._decision or self._evaluated(_NOTHING), self._peeked, now)

    def _server_allowed(self, now: float) -> list[Command]:
        """A listener has said whether to dial, and where to."""
        refused, self._destination = self._notices.server_allowed()
        if refused is not None:
            return self._over(now, refused, Abort())
        wanted, self._wanted_dial = self._wanted_dial, None
        return self._dial(now, *wanted) if wanted is not None else []

    def _dial_failed(self, now: float, error: str) -> list[Command]:
        """An app whose origin cannot be reached sees RST, as from the origin; one that did reach a proxy, why not."""
        told = self._notices.connect_failed(error)
        if self._upstream is not None and self._decision is not None:
            if self._peeked.head is not None:
                return [*told, Send(DOWNSTREAM, GATEWAY_PAGE), *self._over(now, error, Close())]
            if self._peeked.hello is not None:
                page = Send(DOWNSTREAM, fatal_alert(Alert.INTERNAL_ERROR))
                return [*told, page, *self._over(now, error, Close())]
        return [*told, *self._over(now, error, Abort())]

    def _upstream_connected(self, now: float) -> list[Command]:
        self._connected, self._reached = True, now
        self._stage_deadline = None
        return self._run(now) if self._stage is _Stage.DECIDED else []

    def _consulted(self, number: int, now: float) -> list[Command]:
        if number == SERVER_NUMBER:
            return self._server_allowed(now) if self._notices.is_asking_server else []
        if self._layer is None:
            return self._run(now) if self._notices.answered(number) and self._connected else []
        if isinstance(self._layer, REBUILDS):
            return self._after(self._layer.consulted(number, now), now)
        return []

    def _run(self, now: float) -> list[Command]:
        if self._notices.is_asking:
            return []  # the answer comes back here
        self._stage = _Stage.RUNNING
        self._notices.reached(self._began_dial, self._upstream, self._reached)
        held, self._held = bytes(self._held), bytearray()
        self._layer = self._chosen_layer(now)
        self._rebuilds = isinstance(self._layer, REBUILDS)
        self._peek, self._peeked = Peek(), _NOTHING  # what they hold has gone on
        commands = [*self._notices.connected(), *self._pauses.resume(DOWNSTREAM, "dial")]
        commands += self._pauses.resume(UPSTREAM, "hello")
        if isinstance(self._layer, Interception | Rebuilt):
            commands += self._after(self._layer.start(now), now)
        if held and not self.closing:
            commands += self._after(self._layer.receive(DOWNSTREAM, held, now), now)
        if self._early and not self.closing:
            commands += self._after(self._layer.receive(UPSTREAM, bytes(self._early), now), now)
            self._early.clear()
        if self._downstream_ended and not self.closing and self._layer is not None:
            commands += self._after(self._layer.end(DOWNSTREAM, now), now)
        return commands

    def _chosen_layer(self, now: float) -> Layer:
        assert self._decision is not None, "a layer follows a decision"
        if self._must_relay:
            return Relay()
        return choose_layer(
            self._flow, self._settings, self._decision, self._peeked, self._records, now,
            is_settled=self._settled is not None, ignored=self._notices.ignored, facts=self._notices.facts,
        )  # fmt: skip

    def _after(self, commands: list[Command], now: float) -> list[Command]:
        """What follows from what the layer did: pauses in one place, records, and the end."""
        layer = self._layer
        assert layer is not None, "only a layer's commands come here"
        if not self._told_accepted and isinstance(layer, Interception):
            if layer.step_aside is not None:
                return self._step_aside(layer, layer.step_aside, now)
            if layer.accepted:
                self._told_accepted = True
                self._settings.learned.accepted(self._flow.app, layer.name, self._records.wall(now))
            if layer.note is not None:
                self._records.note = self._records.note or layer.note
            if isinstance(layer, RebuiltInterception) and not self._notices.told_tls:
                commands = [*self._notices.handshakes(layer, now), *commands]
        if self.carrier is None or self._rebuilds:
            # What has a limit of bytes is looked at each time.
            if not self._is_limited and layer.handshake_deadline is None and isinstance(layer, Relay | Interception):
                self.carrier = layer
            commands = self._pauses.of_layer(commands)
        done = layer.exchanges()
        if done:
            commands += [Report(record) for record in self._records.exchanges(done, layer)]
        if layer.failure is not None:
            resets = isinstance(layer, REBUILDS) and layer.resets
            commands += self._over(now, layer.failure, Abort() if resets else Close())
        elif layer.finished:
            commands += self._over(now, None, Close())
        elif self._is_limited and layer.bytes_up + layer.bytes_down > self._settings.max_bytes:
            commands += self._over(now, f"more than {self._settings.max_bytes:.0f} bytes, which is the limit", Abort())
        return commands

    def _step_aside(self, layer: Interception, reason: str, now: float) -> list[Command]:
        """Nobody has answered the app yet, so its hello can go to the origin as it is, on a connection of its own."""
        self._records.stepped_aside(reason)
        self._must_relay, self._layer, self._rebuilds = True, None, False
        self._stage, self._held = _Stage.DECIDED, bytearray(layer.held)
        self._pauses.forget(UPSTREAM)
        self._dialled = False
        address = str(self._flow.original_destination[0])
        return [
            Learn(layer.name, reason, layer.lasted(now)),
            *self._pauses.resume(DOWNSTREAM, "layer"),
            *self._dial(now, self._upstream, layer.name if layer.name != address else None),
        ]

    def _over(self, now: float, error: str | None, how: Close | Abort) -> list[Command]:
        self._stage, self.closing = _Stage.CLOSING, True
        self.carrier = None
        self._stage_deadline = now + self._settings.close_timeout
        self._held.clear()
        learn: list[Command] = []
        if isinstance(self._layer, Interception) and self._layer.refusal is not None:
            learn.append(Learn(self._layer.name, self._layer.refusal, self._layer.lasted(now)))
        last: list[Command] = [*learn]
        if isinstance(self._layer, RebuiltInterception):
            last += self._notices.handshakes(self._layer, now)
        if isinstance(self._layer, REBUILDS):
            last += self._layer.cut_off(now, error or "no response")
        last += self._notices.disconnected(error, now)
        return [*last, *(Report(record) for record in self._records.finish(self._layer, now, error)), how]
