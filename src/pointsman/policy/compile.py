"""Say a policy to the kernel: rules become WFP filters for our four callouts.

Pure.  The kernel knows app, protocol, address and port, never a host.  So for each connect it can answer yes, no, or
"maybe, it depends on the host", and the law is (tests/policy/test_compile.py): what the kernel decides alone is what
`match` says, and what it cannot decide goes to the proxy, which knows the host and asks `match` itself.

One connect is classified at CONNECT_REDIRECT, then at AUTH_CONNECT.  At each layer the first filter by weight that
matches has the word, whether it says PASS, REDIRECT or BLOCK; weights fall with the rule's place, so first match wins.

CONNECT_REDIRECT (TCP only, since nothing else can be redirected)
    direct, block without a host   PASS.  What AUTH_CONNECT is to block must keep its address, or the block would
                                   fall on the connection to the proxy.
    relay, inspect                 REDIRECT
    any action with a host         REDIRECT: maybe.  Later rules need not be asked; the proxy evaluates all of them.

AUTH_CONNECT (TCP and UDP)
    block without a host           BLOCK
    other rules                    PASS, but only those before the last BLOCK: below it nothing blocks, and no filter
                                   means pass.
    rules with a host              PASS for TCP alone.  A connection that was redirected passes here anyway (the driver
                                   knows it).  One that matched but could not be redirected arrives here with its own
                                   address: what holds for it is unknown, and the unknown fails open rather than
                                   falling to a later block.  For UDP such a rule cannot match, so later rules decide.

Networks: an IPv4 layer gets the IPv4 networks.  A dual-stack socket that dials an IPv4-mapped address is classified
at CONNECT_REDIRECT_V6 with the mapped address and then at AUTH_CONNECT_V4 (wfp-engine.md 3), and `match` takes it for
IPv4; therefore IPv6 layers get the IPv4 networks in mapped form, and IPv6 networks without the mapped range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from pointsman.policy.decision import Action
from pointsman.policy.load import MAPPED
from pointsman.policy.rules import Policy, Protocol, Rule
from pointsman.wire.abi import RULE_DEFAULT, Verdict, filter_context
from pointsman.wire.filters import Condition, Field, Filter, Layer

REDIRECT_LAYERS = (Layer.CONNECT_REDIRECT_V4, Layer.CONNECT_REDIRECT_V6)
AUTH_LAYERS = (Layer.AUTH_CONNECT_V4, Layer.AUTH_CONNECT_V6)
_V4_LAYERS = (Layer.CONNECT_REDIRECT_V4, Layer.AUTH_CONNECT_V4)
_BOTH = (Protocol.TCP, Protocol.UDP)
AppId = Callable[[str], bytes]


def compile_policy(policy: Policy, registration: int, app_id: AppId) -> list[Filter]:
    """Filters for all four layers.  `app_id` is that of the system the filters go to."""
    rules = [*policy.rules, _default_rule(policy)]
    blocks = [place for place, rule in enumerate(rules) if _blocks_alone(rule)]
    last_block = blocks[-1] if blocks else -1
    maker = _Maker(registration, app_id)
    filters: list[Filter] = []
    for place, rule in enumerate(rules):
        is_default = place == len(policy.rules)
        for layer in REDIRECT_LAYERS:
            if is_default and rule.action is Action.DIRECT:
                continue  # no filter means pass
            if rule.protocol is not Protocol.UDP:
                verdict = _redirect_verdict(rule)
                filters += maker.make(rule, layer, verdict, (Protocol.TCP,), place=place)
        if place > last_block:
            continue
        for layer in AUTH_LAYERS:
            verdict = Verdict.BLOCK if _blocks_alone(rule) else Verdict.PASS
            filters += maker.make(rule, layer, verdict, _auth_protocols(rule), place=place)
    return filters


def weight(place: int, part: int = 0) -> int:
    """Exact and greater first, unique for each layer; the low byte is free for a rule in several parts."""
    return (2**32 - place) << 8 | part


def _default_rule(policy: Policy) -> Rule:
    """The default as what it is: a last rule that matches everything."""
    return Rule(id=RULE_DEFAULT, name="default", action=policy.default)


def _blocks_alone(rule: Rule) -> bool:
    return rule.action is Action.BLOCK and not rule.host


def _redirect_verdict(rule: Rule) -> Verdict:
    return Verdict.PASS if rule.action in (Action.DIRECT, Action.BLOCK) and not rule.host else Verdict.REDIRECT


def _auth_protocols(rule: Rule) -> tuple[Protocol, ...]:
    if rule.host:
        return (Protocol.TCP,)
    return (rule.protocol,) if rule.protocol else _BOTH


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the filters of one registration for one system."""

    registration: int
    app_id: AppId

    def make(
        self, rule: Rule, layer: Layer, verdict: Verdict, protocols: tuple[Protocol, ...], *, place: int
    ) -> list[Filter]:
        """One filter, or none if the rule names only networks of the other family."""
        networks = networks_at(layer, rule.net)
        if rule.net and not networks:
            return []
        conditions = (
            *(Condition(Field.APP_ID, app) for app in dict.fromkeys(self.app_id(path) for path in rule.app)),
            *(Condition(Field.PROTOCOL, protocol.value) for protocol in protocols),
            *(Condition(Field.REMOTE_ADDRESS, network) for network in networks),
            *(Condition(Field.REMOTE_PORT, first if first == last else (first, last)) for first, last in rule.ports),
        )
        context = filter_context(self.registration, verdict, rule.id)
        return [Filter(f"{rule.label}: {verdict.name.lower()}", layer, weight(place), context, conditions)]


def networks_at(layer: Layer, networks: Iterable[IPv4Network | IPv6Network]) -> list[IPv4Network] | list[IPv6Network]:
    v4 = [network for network in networks if isinstance(network, IPv4Network)]
    if layer in _V4_LAYERS:
        return list(collapse_addresses(v4))
    v6 = [part for network in networks if isinstance(network, IPv6Network) for part in _without_mapped(network)]
    mapped = [
        IPv6Network((int(MAPPED.network_address) | int(network.network_address), 96 + network.prefixlen))
        for network in v4
    ]
    return list(collapse_addresses([*v6, *mapped]))


def _without_mapped(network: IPv6Network) -> list[IPv6Network]:
    return list(network.address_exclude(MAPPED)) if MAPPED.subnet_of(network) else [network]
