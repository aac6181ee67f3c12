"""TLS MITM: two TLS connections joined, with the plaintext between them in view.

The order is what makes it honest.  First the origin: handshake and verification with the name the app asked for and
the ALPN it offered.  Then a leaf that mirrors the origin's names, then the app's own handshake, fed with the bytes
that were held back.  A fault of the origin reaches the app as a fatal alert of the same meaning, never as a
connection that looks well; or, if the rule says so, as a page that says what the fault is.  Where origin and app can do
without us but not with us (`engine.origin_fault`), the connection steps aside and is relayed.

    UPSTREAM_HANDSHAKE ─▶ MINTING ─▶ DOWNSTREAM_HANDSHAKE ─▶ STREAMING
     │ certificate not valid, and the rule wants a page         │
     └────▶ MINTING ────▶ DOWNSTREAM_HANDSHAKE ────▶ ANSWERING ─┘ (no more of it reaches the origin)
             any of them ─▶ failed: `failure` says why, and the owner closes

It decides nothing about policy and holds no socket.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from enum import Enum, auto

from pointsman.engine.ambiguity import AmbiguousError
from pointsman.engine.commands import Command, End, MintLeaf, Pause, Resume, Send
from pointsman.engine.events import DOWNSTREAM, UPSTREAM, Side
from pointsman.engine.exchange import MORE, RECORDS, Exchange, Observer
from pointsman.engine.http1 import Http1Observer
from pointsman.engine.http2 import Http2Observer
from pointsman.engine.learned import CLOSED
from pointsman.engine.origin_fault import HEARD_LIMIT, Terms, fault_page, reason_to_step_aside
from pointsman.engine.revocations import url_for
from pointsman.engine.sessions import Sessions
from pointsman.engine.tls import TlsError, TlsSide
from pointsman.policy.rules import OnInvalid
from pointsman.wire.tls_alert import Alert, fatal_alert

HANDSHAKE_TIMEOUT = 15.0  # seconds for both handshakes together
HELD_LIMIT = 64 * 1024  # bytes from the app before its handshake begins; then it is paused
NAMES_LIMIT = 1000  # names mirrored into a leaf; large CDNs list hundreds
HTTP1 = "http/1.1"
HTTP2 = "h2"
SPOKEN = (HTTP2, HTTP1)
"""The ALPN protocols that we can observe."""

UpstreamTls = Callable[[tuple[str, ...]], ssl.SSLContext]
"""A client context that verifies, for these ALPN protocols."""


class _State(Enum):
    UPSTREAM_HANDSHAKE = auto()
    MINTING = auto()
    DOWNSTREAM_HANDSHAKE = auto()
    STREAMING = auto()
    ANSWERING = auto()


_TERMS = Terms()


class Interception:
    __slots__ = (
        "_alpn", "_began", "_closed", "_commands", "_downstream", "_ended", "_fault", "_has_answered", "_heard",
        "_held", "_name", "_observer", "_offered", "_session_key", "_session_refused", "_sessions", "_state",
        "_terms", "_upstream", "_wants_session", "accepted", "bytes_down", "bytes_up", "failure",
        "handshake_deadline", "moved", "news", "note", "refusal", "step_aside",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        alpn: tuple[str, ...],
        upstream_tls: UpstreamTls,
        now: float,
        *,
        port: int = 443,
        sessions: Sessions | None = None,
        terms: Terms = _TERMS,
    ) -> None:
        """`name` is whom the app asked for, a host or an address; `alpn` what it offered and we take part in."""
        self._sessions = sessions if sessions is not None else Sessions()
        self._session_key = name, port
        context = upstream_tls(alpn)
        session = self._sessions.find(self._session_key, context, now)
        self._offered = session
        self._session_refused = False
        self._wants_session = self._sessions.wants(self._session_key, context, now)
        self._has_answered = False
        """The origin, with data; in TLS 1.3 its tickets have come before that."""
        self._name = name
        self._state = _State.UPSTREAM_HANDSHAKE
        self._upstream = TlsSide(
            context,
            server_side=False,
            server_hostname=name,
            session=session,
        )
        self._downstream: TlsSide | None = None
        self._held = bytearray()
        self._terms = terms
        self._alpn = alpn
        self._began = now
        self._heard = bytearray()
        """What the origin has said in its handshake."""
        self._fault: str | None = None
        """Why the app gets a page and not the origin."""
        self.accepted = False
        """The app has completed a handshake with our certificate."""
        self.step_aside: str | None = None
        """Why this connection is to be relayed, which is still possible."""
        self.note: str | None = None
        self._observer: Observer = Http1Observer()
        self._ended: set[Side] = set()
        self._closed: set[Side] = set()
        self.bytes_up = 0
        self.bytes_down = 0
        self.handshake_deadline: float | None = now + HANDSHAKE_TIMEOUT
        self.failure: str | None = None
        self.refusal: str | None = None
        """How the app refused our certificate, if it did: an alert, or CLOSED.  Or why the origin is to be relayed."""
        self._commands: list[Command] = []
        self.moved = now
        """When `carry` was last called."""
        self.news = 0
        """After `carry`: RECORDS, MORE, or nothing."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def held(self) -> bytes:
        """All that the app has sent, until its own handshake begins."""
        return bytes(self._held)

    def lasted(self, now: float) -> float:
        """Seconds since the app's hello."""
        return now - self._began

    def needs(self, side: Side) -> bool:
        """Could it go on without this side?"""
        return self._fault is None or side is DOWNSTREAM

    @property
    def finished(self) -> bool:
        return len(self._ended) == 2  # len(Side) is a loop in Python

    @property
    def streaming(self) -> bool:
        return self._state is _State.STREAMING

    @property
    def protocol(self) -> str:
        if not self._observer.seen_request:
            return "tls"
        return "h2" if isinstance(self._observer, Http2Observer) else "https"

    def start(self, now: float) -> list[Command]:
        return self._upstream_handshake(now)

    def receive(self, side: Side, data: bytes, now: float) -> list[Command]:
        try:
            if self._state is _State.STREAMING and self.failure is None:
                return self._stream(side, now, data)
            return self._receive(side, data, now)
        except TlsError as failed:
            return self._fail(side, failed)

    def end(self, side: Side, now: float) -> list[Command]:
        """FIN.  Without a close_notify before it the stream was cut off, and so is what the other side gets."""
        if side in self._ended or self.failure is not None or not self.needs(side):
            return []
        self._ended.add(side)
        if self._state is _State.ANSWERING:
            self.failure = self._fault
            return []
        if self._state is not _State.STREAMING:
            return self._ended_early(side)
        self._observer.end(side, now)
        return [End(side.other)]

    def lost(self, side: Side) -> None:
        """This side is gone, with or without FIN."""
        if side is DOWNSTREAM and self._state is _State.DOWNSTREAM_HANDSHAKE:
            self.refusal = CLOSED

    def leaf_ready(self, context: ssl.SSLContext, now: float) -> list[Command]:
        if self.failure is not None or self._state is not _State.MINTING:
            return []  # it failed while the leaf was being made
        self._state = _State.DOWNSTREAM_HANDSHAKE
        self._downstream = TlsSide(context, server_side=True)
        held, self._held = bytes(self._held), bytearray()
        return [Resume(DOWNSTREAM), *self.receive(DOWNSTREAM, held, now)]

    def leaf_failed(self, error: str) -> list[Command]:
        self.failure = f"no certificate for {self._name}: {error}"
        return [Send(DOWNSTREAM, fatal_alert(Alert.INTERNAL_ERROR))]

    def handshake_late(self) -> list[Command]:
        whose = DOWNSTREAM if self._state is _State.DOWNSTREAM_HANDSHAKE else UPSTREAM
        self.failure = f"TLS handshake {whose.value} not finished within {HANDSHAKE_TIMEOUT:g} s"
        return [Send(DOWNSTREAM, fatal_alert(Alert.HANDSHAKE_FAILURE))] if whose is UPSTREAM else []

    def exchanges(self) -> list[Exchange]:
        observer = self._observer  # its `take`, for each exchange
        done, observer.done = observer.done, []
        return done

    def cut(self, now: float, why: str) -> None:
        self._observer.cut(now, why)

    def _receive(self, side: Side, data: bytes, now: float) -> list[Command]:
        if self.failure is not None or not self.needs(side):
            return []
        if side is DOWNSTREAM and self._downstream is None:
            self._held += data
            return [Pause(DOWNSTREAM)] if len(self._held) >= HELD_LIMIT else []
        own = self._own(side)
        own.receive(data)
        match self._state:
            case _State.UPSTREAM_HANDSHAKE:
                if len(self._heard) < HEARD_LIMIT:
                    self._heard += data
                return self._upstream_handshake(now)
            case _State.ANSWERING:
                return self._answer(now)
            case _State.DOWNSTREAM_HANDSHAKE if side is DOWNSTREAM:
                return self._downstream_handshake(now)
            case _:
                return []  # the origin speaks early: its bytes wait in the memory BIO, and it is paused

    def _upstream_handshake(self, now: float) -> list[Command]:
        done = self._upstream.handshake()
        commands = self._flush(UPSTREAM)
        if done:
            self._state = _State.MINTING
            self._heard.clear()
            offered, self._offered = self._offered, None
            if offered is not None and not self._upstream.resumed():
                self._session_refused = True
                context = self._upstream.context
                self._wants_session = self._sessions.refused(self._session_key, context, offered, now)
            if self._upstream.alpn() == HTTP2:
                self._observer = Http2Observer()
            upstream = self._upstream
            facts = self._sessions.facts(upstream.certificate(), upstream.certificate_facts)
            names = tuple(dict.fromkeys((self._name, *facts.names)))[:NAMES_LIMIT]
            revocations = url_for(self._name) if facts.is_revocable else None
            commands += [Pause(UPSTREAM), MintLeaf(names, upstream.alpn(), revocations)]
        return commands

    def _downstream_handshake(self, now: float) -> list[Command]:
        own = self._own(DOWNSTREAM)
        done = own.handshake()
        if done:
            own.withhold()
        commands = self._flush(DOWNSTREAM)
        if done and self._fault is not None:
            self._state = _State.ANSWERING
            return commands + self._answer(now)
        if done:
            self._state = _State.STREAMING
            self.handshake_deadline = None
            self.accepted = True
            # Either side may have sent more than its handshake.
            commands += [Resume(UPSTREAM), *self._stream(DOWNSTREAM, now), *self._stream(UPSTREAM, now)]
            for side in self._ended:
                commands.append(End(side.other))
        return commands

    def _answer(self, now: float) -> list[Command]:
        """The app's request, which is read to its end so that no RST overtakes the page, gets the page."""
        own, reason = self._own(DOWNSTREAM), self._fault or ""
        asked = own.decrypt(b"")
        self._observer.receive(DOWNSTREAM, asked, now)
        if not self._observer.seen_request or UPSTREAM in self._closed:
            return self._flush(DOWNSTREAM)
        self._closed.add(UPSTREAM)  # the page is all there will be
        page = fault_page(self._name, reason)
        self._observer.receive(UPSTREAM, page, now)
        self.bytes_up, self.bytes_down = len(asked), len(page)
        carried = own.encrypt(page)
        own.close()
        return [Send(DOWNSTREAM, carried), *self._flush(DOWNSTREAM), End(DOWNSTREAM)]

    def carry(self, side: Side, data: bytes, now: float) -> bytes:
        """While `streaming`: decrypt `data` and what came before it, observe it, and encrypt it for the other side.

        `news` says whether something else follows.
        """
        self.moved = now
        observer = self._observer
        carried = b""
        assert self._downstream is not None, "both handshakes are done"
        try:
            if side is DOWNSTREAM:
                own, other = self._downstream, self._upstream
                plaintext = own.decrypt(data)
                self.bytes_up += len(plaintext)
            else:
                own, other = self._upstream, self._downstream
                plaintext = own.decrypt(data)
                self.bytes_down += len(plaintext)
                if plaintext and not self._has_answered:
                    self._answers(now)
            if plaintext:
                observer.receive(side, plaintext, now)
                carried = other.encrypt(plaintext)
        except TlsError as failed:
            self._commands += self._fail(side, failed)
            self.news = MORE
            return carried
        except AmbiguousError as error:
            self.failure = str(error)
            self.news = MORE
            return b""
        if own.closed_by_peer and side not in self._closed:
            self._closed.add(side)
            observer.end(side, now)
            other.close()
            carried += other.take()
        if own.outgoing.pending:  # an answer of TLS itself, such as to a key update
            self._commands += self._flush(side)
            self.news = MORE
        elif observer.done:
            self.news = RECORDS
        return carried

    def _answers(self, now: float) -> None:
        """The first data of the origin is here."""
        self._has_answered = True
        upstream = self._upstream
        upstream.let_go()
        if self._wants_session:
            self._sessions.keep(
                self._session_key, upstream.context, upstream.session, now, after_refusal=self._session_refused
            )

    def take_commands(self) -> list[Command]:
        """What follows from what was carried."""
        commands, self._commands = self._commands, []
        return commands

    def _stream(self, side: Side, now: float, data: bytes = b"") -> list[Command]:
        carried = self.carry(side, data, now)
        self.news = 0  # whoever gets these commands looks at everything
        commands = self.take_commands()
        return [Send(side.other, carried), *commands] if carried else commands

    def _flush(self, side: Side) -> list[Command]:
        data = self._own(side).take()
        return [Send(side, data)] if data else []

    def _own(self, side: Side) -> TlsSide:
        if side is UPSTREAM:
            return self._upstream
        assert self._downstream is not None, "the app's TLS begins when its leaf is here"
        return self._downstream

    def _fail(self, side: Side, failed: TlsError) -> list[Command]:
        if side is UPSTREAM and self._state is _State.UPSTREAM_HANDSHAKE:
            self.step_aside = reason_to_step_aside(failed, self._terms, bytes(self._heard), established=False)
            if self.step_aside is not None:
                return []
            may_ask = not self._alpn or HTTP1 in self._alpn
            if failed.invalid_certificate and self._terms.on_invalid is OnInvalid.PAGE and may_ask:
                return self._begin_page(failed)
            self.failure = f"TLS upstream: {failed}"
            # OpenSSL has its own alert for the origin; the app gets one of the same meaning.
            return [*self._flush(UPSTREAM), Send(DOWNSTREAM, fatal_alert(failed.alert))]
        if side is DOWNSTREAM and self._state is _State.DOWNSTREAM_HANDSHAKE and failed.refused_by_peer:
            self.failure = f"the app refused our certificate (alert {failed.refused_by_peer})"
            self.refusal = failed.refused_by_peer
        else:
            self.failure = f"TLS {side.value}: {failed}"
            if side is UPSTREAM and not self.bytes_down:
                self.refusal = reason_to_step_aside(failed, self._terms, b"", established=True)
        flushed = self._flush(UPSTREAM)
        return flushed + self._flush(DOWNSTREAM) if self._downstream is not None else flushed

    def _begin_page(self, failed: TlsError) -> list[Command]:
        self._fault = f"TLS upstream: {failed}"
        self.note = f"the app got an error page of ours: {failed}"
        self._state = _State.MINTING
        alpn = HTTP1 if self._alpn else None
        return [*self._flush(UPSTREAM), End(UPSTREAM), MintLeaf((self._name,), alpn)]

    def _ended_early(self, side: Side) -> list[Command]:
        if self._state is not _State.UPSTREAM_HANDSHAKE and side is UPSTREAM:
            return []  # what it had to say waits; the app gets it, then the end
        who = "the app" if side is DOWNSTREAM else "the origin"
        self.failure = f"{who} closed during the TLS handshake"
        self.lost(side)
        return [Send(DOWNSTREAM, fatal_alert(Alert.HANDSHAKE_FAILURE))] if side is UPSTREAM else []
