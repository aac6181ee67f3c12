"""How closely a decrypted or clear connection is handled: only looked at, or rebuilt message by message.

Rebuilt is what policy calls `intercept`, and what policy calls `inspect` if a rule may refuse or intercept a single
request of it: then each request must be here whole before it leaves.
"""

from __future__ import annotations

from collections.abc import Callable

from pointsman.engine.flow_facts import ContextFacts
from pointsman.engine.flow_record import Flow
from pointsman.engine.interception import HTTP1, HTTP2
from pointsman.engine.peek import Peeked
from pointsman.engine.rebuild import Context, Rebuild
from pointsman.engine.rebuild_detect import DetectRebuild
from pointsman.engine.rebuild_http1 import Http1Rebuild
from pointsman.engine.rebuild_http2 import Http2Rebuild
from pointsman.engine.rebuild_tcp import TcpRebuild
from pointsman.engine.rebuild_tls import MakeRebuild
from pointsman.engine.request_policy import RequestPolicy
from pointsman.engine.settings import Settings
from pointsman.engine.subject import subject_of
from pointsman.policy.decision import Action, Decision


def make_layer_rebuild(
    flow: Flow,
    settings: Settings,
    decision: Decision,
    peeked: Peeked,
    wall: Callable[[float], float],
    facts: ContextFacts | None,
    *,
    is_settled: bool,
) -> MakeRebuild | None:
    """None: looking on is enough.  `is_settled`: no request can change the decision."""
    if is_settled and decision.action is not Action.INTERCEPT:
        return None
    requests = RequestPolicy(settings.policy, subject_of(flow, peeked), decision)
    changes = requests.depth.may_change and bool(settings.hooks())
    if not (decision.action is Action.INTERCEPT or requests.depth.may_refuse or changes):
        return None
    scheme = "https" if peeked.hello is not None else "http"
    context = Context(
        flow, decision, requests, scheme, peeked.host, wall, settings.hooks, settings.answer, facts
    )  # fmt: skip

    def make(alpn: str | None) -> Rebuild:
        if peeked.head is not None or alpn == HTTP1:
            return Http1Rebuild(context)
        if alpn == HTTP2:
            return Http2Rebuild(context)
        return DetectRebuild(context) if peeked.hello is not None else TcpRebuild(context)

    return make
