"""What listeners are told about an intercepted connection as such, before and after what travels on it.

Two questions are waited for: `server_connect`, whose answer may be another address or none at all, and
`tls_clienthello`, whose answer may be that the connection is not to be decrypted.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from pointsman.engine.certificate_facts import Certificate
from pointsman.engine.commands import Command, Consult
from pointsman.engine.events import Side
from pointsman.engine.flow_facts import ConnectionFacts, ContextFacts, facts_of, spec_of
from pointsman.engine.flow_record import Flow
from pointsman.engine.messages import ConnectionNotice
from pointsman.engine.peek import Peeked
from pointsman.engine.rebuild_tls import RebuiltInterception
from pointsman.engine.tls import TlsSide
from pointsman.policy.decision import Action, Decision
from pointsman.policy.match import Address
from pointsman.policy.upstreams import Upstream

HELLO_NUMBER = 0
"""Of that question; those of exchanges count from 1."""
SERVER_NUMBER = -2
_UNANSWERED = -1  # of those that nobody waits for


class Notices:
    __slots__ = (
        "_established", "_flow", "_hooks", "_notice", "_server_notice", "_told_tls_failed", "_wall",
        "_was_asked_for_server", "_was_connected", "facts", "is_asking", "is_asking_server",
    )  # fmt: skip

    def __init__(self, flow: Flow, hooks: Callable[[], frozenset[str]], wall: Callable[[float], float]) -> None:
        """`wall`: the engine's clock as seconds since 1970."""
        self._flow = flow
        self._hooks = hooks
        self._wall = wall
        self._notice: ConnectionNotice | None = None
        self._server_notice: ConnectionNotice | None = None
        self._was_asked_for_server = False
        self._was_connected = False
        self._told_tls_failed = False
        self._established: tuple[Side, ...] = ()
        """Whose handshake is done."""
        self.facts: ContextFacts | None = None
        """If anybody listens to anything."""
        self.is_asking = False
        """About the hello."""
        self.is_asking_server = False

    @property
    def ignored(self) -> bool:
        return self._notice is not None and self._notice.ignore

    def wants_server(self) -> bool:
        return not self._was_asked_for_server and "server_connect" in self._hooks()

    def ask_server(self, decision: Decision, peeked: Peeked, now: float) -> list[Command]:
        """Before a dial; empty if nobody wants to know."""
        if not self.wants_server() or decision.action is not Action.INTERCEPT:
            return []
        self._was_asked_for_server = self.is_asking_server = True
        notice = self._made(decision, peeked)
        assert self.facts is not None, "it was made with the notice"
        self.facts.server.timestamp_start = self._wall(now)
        self._server_notice = notice
        return [Consult(SERVER_NUMBER, "server_connect", notice)]

    def server_allowed(self) -> tuple[str | None, tuple[Address, int] | None]:
        """Once that was answered: why it is not to be dialled, and where to instead of the original destination."""
        self.is_asking_server = False
        notice, self._server_notice = self._server_notice, None
        assert notice is not None, "it was asked about"
        server = notice.server
        if notice.killed or server.error is not None:
            return f"killed by an addon{f': {server.error}' if server.error else ''}", None
        wanted = server.address
        if wanted is None or wanted == (str(self._flow.original_destination[0]), self._flow.original_destination[1]):
            return None, None
        try:
            return None, (ip_address(wanted[0]), int(wanted[1]))
        except ValueError:  # whoever asks has looked names up
            return f"an addon wants it dialled to {wanted[0]!r}, which is no address", None

    def decided(self, decision: Decision, peeked: Peeked) -> list[Command]:
        """Only who may change a connection hears of it."""
        wanted = self._hooks()
        if not wanted:
            return []
        if decision.action is not Action.INTERCEPT:
            self.facts, self._notice = self._facts(peeked), None
            return []
        self._notice = self._made(decision, peeked)
        commands = self._tell("client_connected")
        if peeked.hello is not None and "tls_clienthello" in wanted:
            self.is_asking = True
            commands.append(Consult(HELLO_NUMBER, "tls_clienthello", self._notice))
        return commands

    def answered(self, number: int) -> bool:
        """True if that is the answer about the hello that was waited for."""
        was_asking, self.is_asking = self.is_asking, self.is_asking and number != HELLO_NUMBER
        return was_asking and not self.is_asking

    # What happened.

    def dialled(self, upstream: Upstream | None, now: float) -> None:
        if self.facts is not None:
            server = self.facts.server
            server.timestamp_start, server.via = self._wall(now), spec_of(upstream)
            server.dialled_via = server.via

    def reached(self, began: float, upstream: Upstream | None, now: float) -> None:
        """It has been connected since `now`; listeners hear of it with `connected`."""
        if self.facts is not None:
            server = self.facts.server
            server.timestamp_start, server.timestamp_tcp_setup = self._wall(began), self._wall(now)
            server.via = server.dialled_via = spec_of(upstream)

    def connected(self) -> list[Command]:
        self._was_connected = True
        return self._tell("server_connected")

    def connect_failed(self, error: str) -> list[Command]:
        if self.facts is not None:
            self.facts.server.error = error
        return self._tell("server_connect_error")

    def handshakes(self, layer: RebuiltInterception, now: float) -> list[Command]:
        """How its handshakes went, as far as nobody has heard of it."""
        told: list[Command] = []
        for side in (Side.UPSTREAM, Side.DOWNSTREAM):
            own = layer.own(side)
            if own is not None and own.established and side not in self._established:
                self._established += (side,)
                told += self._tell_established(side, own, now)
        if layer.failed_side is not None:
            told += self._tell_failed(layer.failed_side, layer.fault)
        return told

    @property
    def told_tls(self) -> bool:
        """Both are done, and nothing more is to be told."""
        return len(self._established) == 2

    def _tell_established(self, side: Side, tls: TlsSide, now: float) -> list[Command]:
        if self.facts is None:
            return []
        conn = self._side(side)
        conn.timestamp_tls_setup, conn.tls = self._wall(now), True
        conn.tls_version, conn.cipher = tls.version(), tls.cipher()
        alpn = tls.alpn()
        conn.alpn = alpn.encode() if alpn is not None else None
        if side is Side.UPSTREAM and (der := tls.certificate()):
            conn.certificate_list = [Certificate(der)]
        return self._tell("tls_established_server" if side is Side.UPSTREAM else "tls_established_client", conn)

    def _tell_failed(self, side: Side, error: str) -> list[Command]:
        """Told once: the other side's handshake does not come any more."""
        if self.facts is None or self._told_tls_failed:
            return []
        self._told_tls_failed = True
        conn = self._side(side)
        conn.error = error
        return self._tell("tls_failed_server" if side is Side.UPSTREAM else "tls_failed_client", conn)

    def disconnected(self, error: str | None, now: float) -> list[Command]:
        if self._notice is None or self.facts is None:
            return []
        self._notice.error = error
        self.facts.client.timestamp_end = self._wall(now)
        if not self._was_connected:
            return self._tell("client_disconnected")
        self.facts.server.timestamp_end = self._wall(now)
        return [*self._tell("server_disconnected"), *self._tell("client_disconnected")]

    # What they are about.

    def _side(self, side: Side) -> ConnectionFacts:
        assert self.facts is not None, "asked by the caller"
        return self.facts.server if side is Side.UPSTREAM else self.facts.client

    def _facts(self, peeked: Peeked) -> ContextFacts:
        """Made once; what the app has said since is added."""
        tls = peeked.hello is not None
        fresh = facts_of(self._flow, tls=tls, sni=peeked.host)
        facts = self.facts or fresh
        for known, now_known in ((facts.client, fresh.client), (facts.server, fresh.server)):
            known.tls, known.sni = now_known.tls, now_known.sni
        if peeked.hello is not None:
            facts.client.alpn_offers = [name.encode() for name in peeked.hello.alpn]
        return facts

    def _made(self, decision: Decision, peeked: Peeked) -> ConnectionNotice:
        self.facts = self._facts(peeked)
        notice = self._notice or ConnectionNotice(self._flow, None, None, None)
        notice.decision, notice.rule, notice.host = decision.action.value, decision.rule_name, peeked.host
        notice.alpn = peeked.hello.alpn if peeked.hello is not None else ()
        notice.facts = self.facts
        self._notice = notice
        return notice

    def _tell(self, hook: str, conn: ConnectionFacts | None = None) -> list[Command]:
        if self._notice is None or hook not in self._hooks():
            return []
        notice = self._notice if conn is None else self._notice.about(conn)
        return [Consult(_UNANSWERED, hook, notice)]
