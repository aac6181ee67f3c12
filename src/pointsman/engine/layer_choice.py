"""Which layer carries a connection, once it is decided and both sides are connected.

A decision to decrypt is one that can fail: an app that speaks what we do not, one that has refused our certificate, a
name that our root may not sign for.  Then the bytes are relayed, and the record says why.
"""

from __future__ import annotations

from pointsman.engine.depth import make_layer_rebuild
from pointsman.engine.flow_facts import ContextFacts
from pointsman.engine.flow_record import Flow
from pointsman.engine.http1 import Http1Observer
from pointsman.engine.http2 import Http2Observer
from pointsman.engine.interception import HTTP2, SPOKEN, Interception, UpstreamTls
from pointsman.engine.origin_fault import Terms
from pointsman.engine.peek import Peeked
from pointsman.engine.rebuild import Rebuilt
from pointsman.engine.rebuild_tls import RebuiltInterception
from pointsman.engine.record_maker import RecordMaker
from pointsman.engine.relay import Relay
from pointsman.engine.settings import Settings
from pointsman.policy.decision import Decision
from pointsman.policy.rules import Rule
from pointsman.wire.client_hello import ClientHello

Layer = Relay | Interception | Rebuilt
REBUILDS = (RebuiltInterception, Rebuilt)
"""The layers that may pause a side at any time, and have questions."""


def choose_layer(
    flow: Flow,
    settings: Settings,
    decision: Decision,
    peeked: Peeked,
    records: RecordMaker,
    now: float,
    *,
    is_settled: bool,
    ignored: bool,
    facts: ContextFacts | None,
) -> Layer:
    """`is_settled`: no request can change the decision; `ignored`: a listener wants this connection left alone;
    `facts`: what listeners see of it."""
    if not decision.action.decrypts:
        return Relay()
    make_rebuild = make_layer_rebuild(flow, settings, decision, peeked, records.wall, facts, is_settled=is_settled)
    if peeked.hello is None:
        if make_rebuild is not None:
            return Rebuilt(make_rebuild(HTTP2 if peeked.is_http2 else None))
        if peeked.is_http2:
            return Relay(Http2Observer(), "h2c")
        return Relay(Http1Observer()) if peeked.head is not None else Relay()
    if ignored:
        records.relayed_by_listener()
        return Relay()
    name = peeked.hello.server_name or str(flow.original_destination[0])
    spoken = _spoken(peeked.hello)
    if _must_be_relayed(flow, settings, peeked.hello, name, records, now):
        return Relay()
    left_out = len(spoken) < len(set(peeked.hello.alpn))
    upstream_tls, terms = _origin_terms(settings, decision.rule, left_out=left_out)
    port, sessions = flow.original_destination[1], settings.sessions
    if make_rebuild is not None:
        return RebuiltInterception(
            name, spoken, upstream_tls, now, port=port, sessions=sessions, terms=terms, make_rebuild=make_rebuild
        )
    return Interception(name, spoken, upstream_tls, now, port=port, sessions=sessions, terms=terms)


def _must_be_relayed(
    flow: Flow, settings: Settings, hello: ClientHello, name: str, records: RecordMaker, now: float
) -> bool:
    if hello.alpn and not _spoken(hello):
        records.note = f"not decrypted: the app offers only {', '.join(hello.alpn)[:100]}"
        return True
    known = settings.learned.find(flow.app, name, records.wall(now))
    if known is not None:
        records.relayed_as_learned(known)
        return True
    if not settings.may_sign(name):
        records.beyond_our_root(name)
        return True
    return False


def _spoken(hello: ClientHello) -> tuple[str, ...]:
    """Of what the app offers, once each, what we can observe."""
    return tuple(protocol for protocol in dict.fromkeys(hello.alpn) if protocol in SPOKEN)


def _origin_terms(settings: Settings, rule: Rule | None, *, left_out: bool) -> tuple[UpstreamTls, Terms]:
    if rule is None:
        return settings.upstream_tls, Terms(left_out=left_out)
    if rule.client_certificate is None or settings.certified_tls is None:
        return settings.upstream_tls, Terms(rule.on_invalid, left_out=left_out)
    return settings.certified_tls(rule.client_certificate), Terms(rule.on_invalid, True, left_out)
