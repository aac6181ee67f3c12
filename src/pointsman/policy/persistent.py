"""`on_failure = "closed"`: what must block when no proxy runs, as filters that outlive us.

Pure.  These are values; installing persistent filters is the installer's business, must be asked for, and uninstalling
removes them.  They block by themselves (no callout: the driver may be gone as well), at the authorise layer, what a
closed rule matches, unless the connection was redirected to the proxy.  Earlier rules keep their word by permitting;
what an earlier rule leaves open until somebody looks is permitted too, for fail open is the rule and closed the
exception.
"""

from __future__ import annotations

from pointsman.policy.compile import (
    AUTH_LAYERS,
    network_conditions,
    port_conditions,
    rule_app_conditions,
    token_conditions,
    weight,
)
from pointsman.policy.decision import Action
from pointsman.policy.rules import OnFailure, Policy, Protocol, Rule
from pointsman.policy.sight import Sight
from pointsman.wire.filters import Condition, Field, NativeFilter

# FWP_CONDITION_FLAG_* (fwptypes.h): loopback, redirected, and the second authorization of a redirected connection.
REDIRECTED_FLAGS = 0x1 | 0x0010_0000 | 0x0200_0000


def persistent_filters(policy: Policy, sight: Sight) -> list[NativeFilter]:
    """Empty if no rule asks to fail closed."""
    sight = sight.with_paths_of(policy)
    closed = [place for place, rule in enumerate(policy.rules) if rule.on_failure is OnFailure.CLOSED]
    if not closed:
        return []
    return [one for place, rule in enumerate(policy.rules[: closed[-1] + 1]) for one in _filters_of(rule, place, sight)]


def _filters_of(rule: Rule, place: int, sight: Sight) -> list[NativeFilter]:
    is_closed = rule.on_failure is OnFailure.CLOSED
    if rule.action is Action.BLOCK and not is_closed:
        return []  # a block of the policy ends with the proxy; it neither permits
    apps = rule_app_conditions(rule, sight)
    # UDP is never redirected, so no proxy is missing there.
    if apps is None or rule.protocol is Protocol.UDP:
        return []
    found = []
    for layer in AUTH_LAYERS:
        networks = network_conditions(rule, layer, sight)
        if networks is None:
            continue
        conditions = (
            *apps,
            *token_conditions(rule, sight),
            Condition(Field.PROTOCOL, Protocol.TCP.value),
            *networks,
            *port_conditions(rule),
            *((Condition(Field.FLAGS, REDIRECTED_FLAGS),) if is_closed else ()),
        )
        name = f"{rule.label}: {'closed' if is_closed else 'permit'}"
        found.append(NativeFilter(name, layer, weight(place), is_closed, conditions))
    return found
