"""`on_failure = "closed"`: what must block when no proxy runs, as filters that outlive us.

Pure.  These are values; whoever installs persistent filters does so because he was asked to (`control.policy_closed`).
They block by themselves (no callout: the driver may be gone as well), at the authorise layer, what a closed rule
matches, unless the connection was redirected to the proxy.  Earlier rules keep their word by permitting; what an
earlier rule leaves open until somebody looks is permitted too, for fail open is the rule and closed the exception.
Addresses that are never redirected are permitted as well: no proxy is missing there.

Nobody renews these filters, so they can be made only of what holds without us: `obstacles` names the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from pointsman.policy.compile import (
    AUTH_LAYERS,
    app_conditions,
    network_conditions,
    networks_at,
    port_conditions,
    rule_app_conditions,
    token_conditions,
    weight,
)
from pointsman.policy.decision import Action
from pointsman.policy.rules import OnFailure, Policy, Protocol, Rule
from pointsman.policy.sight import Sight
from pointsman.policy.situation import never_redirected
from pointsman.wire.filters import Condition, Field, NativeFilter

# FWP_CONDITION_FLAG_* (fwptypes.h): loopback, redirected, by a proxy that carries redirect records, and the second
# authorization of a redirected connection.
REDIRECTED_FLAGS = 0x1 | 0x0010_0000 | 0x0020_0000 | 0x0200_0000
_TCP = Condition(Field.PROTOCOL, Protocol.TCP.value)
_FIRST = -2  # place of what is permitted before any rule


def persistent_filters(policy: Policy, sight: Sight, proxy: str | None = None) -> list[NativeFilter]:
    """Empty if no rule asks to fail closed.

    `policy`: with the rules of every hour.  `sight`: of no program that runs, since that changes.  `proxy`: the path of
    our own program, which must not be blocked by a rule for every app.
    """
    sight = sight.with_paths_of(policy)
    closed = [place for place, rule in enumerate(policy.rules) if is_closed(rule)]
    if not closed:
        return []
    rules = policy.rules[: closed[-1] + 1]
    found = list(_permitted_first(sight, proxy if any(is_closed(rule) and not rule.app for rule in rules) else None))
    return [*found, *(one for place, rule in enumerate(rules) for one in _filters_of(rule, place, sight))]


def obstacles(policy: Policy, sight: Sight) -> list[tuple[Rule, str]]:
    """Closed rules that no persistent filter can stand for, and why not."""
    found: list[tuple[Rule, str]] = []
    earlier_by_name: Rule | None = None
    for rule in policy.rules:
        if is_closed(rule):
            if rule.app.is_open:
                found.append((rule, "app: write full paths; when no proxy runs, nobody resolves names and globs"))
            elif not rule.app and earlier_by_name is not None:
                found.append((rule, f"no app, below {earlier_by_name.label!r} with a name or a glob: put it above"))
            if (rule.user or rule.service) and sight.sids(rule) is None:
                found.append((rule, "user, service: this filter engine cannot ask for them, or there is no such user"))
            if not sight.sees_networks(rule):
                found.append((rule, "net: too many networks for the filter engine"))
        elif rule.app.is_open and rule.protocol is not Protocol.UDP:
            earlier_by_name = earlier_by_name or rule
    return found


def is_closed(rule: Rule) -> bool:
    return rule.on_failure is OnFailure.CLOSED


def _permitted_first(sight: Sight, proxy: str | None) -> Iterator[NativeFilter]:
    for layer in AUTH_LAYERS:
        networks: list[IPv4Network | IPv6Network] = [ip_network(one) for one in never_redirected()]
        addresses = (Condition(Field.REMOTE_ADDRESS, one) for one in networks_at(layer, networks))
        yield NativeFilter("never redirected: permit", layer, weight(_FIRST), False, (_TCP, *addresses))
        if proxy is not None:
            conditions = (*app_conditions([proxy], sight), _TCP)
            yield NativeFilter("the proxy itself: permit", layer, weight(_FIRST + 1), False, conditions)


def _filters_of(rule: Rule, place: int, sight: Sight) -> Iterator[NativeFilter]:
    closes = is_closed(rule)
    if rule.action is Action.BLOCK:
        return  # a block of the policy ends with the proxy; it neither permits
    apps = rule_app_conditions(rule, sight)
    # UDP is never redirected, so no proxy is missing there.
    if apps is None or rule.protocol is Protocol.UDP or (closes and sight.is_late(rule)):
        return
    for layer in AUTH_LAYERS:
        networks = network_conditions(rule, layer, sight)
        if networks is None:
            continue
        conditions = (
            *apps,
            *token_conditions(rule, sight),
            _TCP,
            *networks,
            *port_conditions(rule),
            *((Condition(Field.FLAGS, REDIRECTED_FLAGS),) if closes else ()),
        )
        yield NativeFilter(
            f"{rule.label}: {'closed' if closes else 'permit'}", layer, weight(place), closes, conditions
        )
