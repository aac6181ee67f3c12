"""One connection of the engine with both its ends in memory, and a clock that the test advances.

`Rig` carries out commands as `server` would, but into byte arrays: what the app and the origin would have received,
whether they saw FIN or RST, who is paused, which records came.  `TlsEnd` is a real TLS client or server for either
end; `pump` passes bytes until nobody has any left.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address

from pointsman.authority.issue import Root
from pointsman.authority.leaf_cache import LeafCache
from pointsman.engine.commands import (
    Abort,
    Close,
    Command,
    Consult,
    Dial,
    End,
    Learn,
    MintLeaf,
    Pause,
    Report,
    Resume,
    Send,
)
from pointsman.engine.connection import Connection
from pointsman.engine.events import Connected, Consulted, Ended, Event, LeafReady, Received, Side
from pointsman.engine.flow_record import Flow, FlowRecord
from pointsman.engine.interception import UpstreamTls
from pointsman.engine.learned import Learned
from pointsman.engine.messages import Subject as Asked
from pointsman.engine.rebuild import later
from pointsman.engine.sessions import Sessions
from pointsman.engine.settings import Settings
from pointsman.policy.load import parse_policy
from pointsman.policy.match import Address
from pointsman.testing import authority

EPOCH = 1_700_000_000.0
START = 1000.0  # on the clock of the engine
APP, ORIGIN = Side.DOWNSTREAM, Side.UPSTREAM


class Rig:
    def __init__(
        self,
        policy: str = 'default = "inspect"',
        *,
        destination: tuple[str, int] = ("192.0.2.1", 443),
        app: str | None = "/usr/bin/app",
        proxy_root: Root | None = None,
        trusts: Root | None = None,
        connects: bool = True,
        learned: Learned | None = None,
        sessions: Sessions | None = None,
        upstream_tls: UpstreamTls | None = None,
        certified_tls: Callable[[str], UpstreamTls] | None = None,
        life_timeout: float = float("inf"),
        max_bytes: float = float("inf"),
        hooks: frozenset[str] = frozenset(),
        listener: Callable[[str, Asked], object] | None = None,
        answers_within: bool = False,
    ) -> None:
        """`connects`: a dial succeeds at once; otherwise the test tells.  `listener` hears of `hooks` and answers at
        once, `answers_within` the engine's call where that is possible; without one the test answers (`answer`)."""
        self.consults: list[Consult] = []
        self._listener = listener
        self.now = START
        self.received = {APP: bytearray(), ORIGIN: bytearray()}
        self.ended: set[Side] = set()
        """Ends that saw our FIN."""
        self.paused: set[Side] = set()
        self.dials = 0
        self.dialled: list[tuple[str | None, str | None]] = []
        """Upstream and host of each dial."""
        self.destinations: list[tuple[Address, int] | None] = []
        """Of each dial, if not the original one."""
        self.closed = False
        self.aborted = False
        self.records: list[FlowRecord] = []
        self.minted: list[MintLeaf] = []
        self.mints_at_once = True
        self._connects = connects
        self._trusts = trusts
        self.leaves = LeafCache(proxy_root or authority.root("proxy"), now=lambda: datetime.now(UTC))
        flow = Flow(1, EPOCH, app, 4711, (ip_address(destination[0]), destination[1]))
        self.learned = learned or Learned()
        settings = Settings(
            parse_policy(policy.encode(), "test.toml"),
            upstream_tls or self._upstream_tls,
            self.learned,
            sessions if sessions is not None else Sessions(),
            certified_tls=certified_tls,
            life_timeout=life_timeout,
            max_bytes=max_bytes,
            hooks=lambda: hooks,
            answer=self._answer_within if answers_within and listener is not None else later,
        )
        self.connection = Connection(flow, settings)
        self._do(self.connection.start(self.now))

    @property
    def over(self) -> bool:
        return self.closed or self.aborted

    @property
    def record(self) -> FlowRecord:
        """The only one."""
        (record,) = self.records
        return record

    def event(self, event: Event) -> None:
        self._do(self.connection.handle(event, self.now))

    def app_sends(self, data: bytes) -> None:
        self.event(Received(APP, data))

    def origin_sends(self, data: bytes) -> None:
        self.event(Received(ORIGIN, data))

    def ends(self, side: Side) -> None:
        self.event(Ended(side))

    def advance(self, seconds: float) -> None:
        """Let time pass, ticking whenever the engine asked for it."""
        until = self.now + seconds
        while not self.aborted and self.connection.deadline <= until:
            self.now = max(self.now, self.connection.deadline)
            self._do(self.connection.tick(self.now))
        self.now = until

    def answer(self) -> None:
        """The oldest question; its subject has been changed by now."""
        self.event(Consulted(self.consults.pop(0).number))

    def mint(self) -> None:
        """Answer the last MintLeaf."""
        wanted = self.minted[-1]
        self.event(LeafReady(self.leaves.get(wanted.names, wanted.alpn, wanted.revocations)))

    def take(self, side: Side) -> bytes:
        """What this end has received since the last call."""
        data = bytes(self.received[side])
        self.received[side].clear()
        return data

    def _answer_within(self, hook: str, subject: Asked) -> bool:
        assert self._listener is not None, "asked by whoever made this"
        self._listener(hook, subject)
        return True

    def _upstream_tls(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        return authority.client_context(*alpn, trusts=self._trusts)

    def _do(self, commands: Iterable[Command]) -> None:
        follow_up: list[Event] = []
        for command in commands:
            assert not self.over, f"{command} after the end"
            match command:
                case Send(side, data):
                    assert side not in self.ended, "bytes after FIN"
                    assert side is APP or self.dials, "bytes before the dial"
                    self.received[side] += data
                case End(side):
                    self.ended.add(side)
                case Pause(side):
                    self.paused.add(side)
                case Resume(side):
                    self.paused.discard(side)
                case Dial(upstream, host, destination):
                    self.dials += 1
                    self.destinations.append(destination)
                    self.dialled.append((upstream.name if upstream is not None else None, host))
                    if self._connects:
                        follow_up.append(Connected())
                case MintLeaf():
                    self.minted.append(command)
                    if self.mints_at_once:
                        follow_up.append(LeafReady(self.leaves.get(command.names, command.alpn, command.revocations)))
                case Consult(number, hook, subject):
                    if self._listener is None:
                        self.consults.append(command)
                    else:
                        self._listener(hook, subject)
                        follow_up.append(Consulted(number))
                case Learn(host, reason, lasted):
                    self.learned.refused(self.connection.app, host, reason, EPOCH + self.now - START, lasted)
                case Report(record):
                    self.records.append(record)
                case Close():
                    self.closed = True
                case Abort():
                    self.aborted = True
        for event in follow_up:
            if not self.over:
                self.event(event)


class TlsEnd:
    """A TLS client or server at one end of a rig, on `ssl` itself and not on the engine's layer."""

    def __init__(self, rig: Rig, side: Side, context: ssl.SSLContext, server_name: str | None = None) -> None:
        self._rig = rig
        self._side = side
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=side is ORIGIN, server_hostname=server_name
        )
        self.established = False
        self.error: ssl.SSLError | None = None
        self.saw_close_notify = False
        self.received = bytearray()

    def send(self, data: bytes) -> None:
        self.tls.write(data)

    def close_notify(self) -> None:
        with suppress(ssl.SSLWantReadError):  # ours is sent; the peer's comes when it comes
            self.tls.unwrap()

    def turn(self) -> bool:
        """Read what is here, write what there is to write; True if anything moved."""
        data = self._rig.take(self._side)
        self._incoming.write(data)
        if self.error is None:
            self._work()
        outgoing = self._outgoing.read()
        if outgoing and not self._rig.over:
            self._rig.event(Received(self._side, outgoing))
        return bool(data or outgoing)

    def _work(self) -> None:
        try:
            if not self.established:
                self.tls.do_handshake()
                self.established = True
            while not self.saw_close_notify:
                data = self.tls.read(65536)
                self.received += data
                self.saw_close_notify = not data
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.saw_close_notify = True
        except ssl.SSLError as error:
            self.error = error


def pump(*ends: TlsEnd) -> None:
    """Until nobody has anything to say.  Each end gets its turn, or a handshake would starve."""
    moved = True
    while moved:
        moved = False
        for end in ends:
            moved |= end.turn()
