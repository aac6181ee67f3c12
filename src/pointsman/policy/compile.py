"""Say a policy to the kernel: rules become WFP filters for our four callouts.

Pure.  The kernel knows app, protocol, address and port, never a host (`sight` says how far it sees).  So for each
connect it can answer yes, no, or "it depends", and the law is (tests/policy/test_law.py): what the kernel decides
alone is what `match` says, and what it cannot decide goes to the proxy, which knows the rest and asks `match` itself.

One connect is classified at CONNECT_REDIRECT, then at AUTH_CONNECT.  At each layer the first filter by weight that
matches has the word, whether it says PASS, REDIRECT or BLOCK; weights fall with the rule's place, so first match wins.

CONNECT_REDIRECT (TCP only, since nothing else can be redirected)
    direct, block              PASS.  What AUTH_CONNECT is to block must keep its address, or the block would fall on
                               the connection to the proxy.
    all others                 REDIRECT
    any action of a late rule  REDIRECT: maybe.  Later rules need not be asked; the proxy evaluates all of them.
    after a name or glob       PASS is for known programs only, and what is left goes to the proxy (see `sight`).

AUTH_CONNECT (TCP and UDP)
    block                      BLOCK
    other rules                PASS, but only those before the last BLOCK: below it nothing blocks, and no filter
                               means pass.
    late rules                 PASS for TCP alone.  A connection that was redirected passes here anyway (the driver
                               knows it).  One that matched but could not be redirected arrives here with its own
                               address: what holds for it is unknown, and the unknown fails open rather than falling
                               to a later block.  For UDP such a rule cannot match, so later rules decide.

Networks: an IPv4 layer gets the IPv4 networks.  A dual-stack socket that dials an IPv4-mapped address is classified
at CONNECT_REDIRECT_V6 with the mapped address and then at AUTH_CONNECT_V4 (wfp-engine.md 3), and `match` takes it for
IPv4; therefore IPv6 layers get the IPv4 networks in mapped form, and IPv6 networks without the mapped range.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from pointsman.policy.decision import Action
from pointsman.policy.rules import Policy, Protocol, Rule
from pointsman.policy.security import match_descriptor
from pointsman.policy.sight import HandOver, Sight, hand_over, needs_seal
from pointsman.policy.tables import MAPPED
from pointsman.wire.abi import RULE_DEFAULT, Verdict, filter_context
from pointsman.wire.filters import Condition, Field, Filter, Layer

REDIRECT_LAYERS = (Layer.CONNECT_REDIRECT_V4, Layer.CONNECT_REDIRECT_V6)
AUTH_LAYERS = (Layer.AUTH_CONNECT_V4, Layer.AUTH_CONNECT_V6)
_V4_LAYERS = (Layer.CONNECT_REDIRECT_V4, Layer.AUTH_CONNECT_V4)
_BOTH = (Protocol.TCP, Protocol.UDP)


def compile_policy(policy: Policy, registration: int, sight: Sight) -> list[Filter]:
    """Filters for all four layers; at most two for each rule and layer family."""
    sight = sight.with_paths_of(policy)
    compiler = _Compiler(registration, sight, hand_over(policy, sight))
    return [*compiler.redirect_filters(policy), *compiler.authorize_filters(policy)]


def weight(place: int) -> int:
    """Exact and greater first, unique for each layer; the low byte is free for a rule in several parts."""
    return (2**32 - place) << 8


def default_rule(policy: Policy) -> Rule:
    """The default as what it is: a last rule that matches everything."""
    return Rule(id=RULE_DEFAULT, name="default", action=policy.default)


@dataclass(frozen=True, slots=True)
class _Compiler:
    registration: int
    sight: Sight
    handing: HandOver | None

    def redirect_filters(self, policy: Policy) -> list[Filter]:
        filters: list[Filter] = []
        default = default_rule(policy)
        rules = [*policy.rules, default]
        for place, rule in enumerate(rules):
            if rule.protocol is Protocol.UDP:
                continue
            if self.handing is not None and self.handing.is_sweeping and place == self.handing.place:
                return [*filters, *self._everything(default, place)]
            is_sealed = self.handing is not None and place > self.handing.place and needs_seal(rule, self.sight)
            if rule is default and rule.action is Action.DIRECT and not is_sealed:
                continue  # no filter means pass
            verdict = self._redirect_verdict(rule)
            filters += self._both(rule, REDIRECT_LAYERS, verdict, place, (Protocol.TCP,), is_sealed=is_sealed)
            if rule is default and is_sealed:
                filters += self._everything(default, place + 1)
        return filters

    def authorize_filters(self, policy: Policy) -> list[Filter]:
        rules = [*policy.rules, default_rule(policy)]
        last_block = max((place for place, rule in enumerate(rules) if self._blocks(rule)), default=-1)
        filters: list[Filter] = []
        for place, rule in enumerate(rules[: last_block + 1]):
            is_late = self.sight.is_late(rule)
            protocols = (rule.protocol,) if rule.protocol else (Protocol.TCP,) if is_late else _BOTH
            if is_late and rule.protocol is Protocol.UDP:
                continue
            verdict = Verdict.BLOCK if self._blocks(rule) else Verdict.PASS
            filters += self._both(rule, AUTH_LAYERS, verdict, place, protocols)
        return filters

    def _blocks(self, rule: Rule) -> bool:
        return rule.action is Action.BLOCK and not self.sight.is_late(rule)

    def _redirect_verdict(self, rule: Rule) -> Verdict:
        return Verdict.PASS if rule.action.is_for_kernel and not self.sight.is_late(rule) else Verdict.REDIRECT

    def _everything(self, default: Rule, place: int) -> list[Filter]:
        return self._both(default, REDIRECT_LAYERS, Verdict.REDIRECT, place, (Protocol.TCP,))

    def _both(
        self, rule: Rule, layers: Sequence[Layer], verdict: Verdict, place: int, protocols: Sequence[Protocol],
        *, is_sealed: bool = False,
    ) -> list[Filter]:  # fmt: skip
        """One filter for each layer, or none where the rule can match nothing."""
        apps = self._apps(rule, is_sealed=is_sealed)
        if apps is None:
            return []
        before = (
            *apps,
            *token_conditions(rule, self.sight),
            *(Condition(Field.PROTOCOL, one.value) for one in protocols),
        )
        after = port_conditions(rule)
        context = filter_context(self.registration, verdict, rule.id)
        name = f"{rule.label}: {verdict.name.lower()}"
        filters = []
        for layer in layers:
            networks = network_conditions(rule, layer, self.sight)
            if networks is not None:
                filters.append(Filter(name, layer, weight(place), context, (*before, *networks, *after)))
        return filters

    def _apps(self, rule: Rule, *, is_sealed: bool) -> tuple[Condition, ...] | None:
        if is_sealed:
            assert self.handing is not None, "only a hand-over seals"
            return app_conditions(self.handing.known.values(), self.sight) or None
        return rule_app_conditions(rule, self.sight)


def app_conditions(paths: Iterable[str], sight: Sight) -> tuple[Condition, ...]:
    return tuple(Condition(Field.APP_ID, app) for app in dict.fromkeys(map(sight.app_id, paths)))


def rule_app_conditions(rule: Rule, sight: Sight) -> tuple[Condition, ...] | None:
    """None: no program that can match is known."""
    if not rule.app:
        return ()
    return app_conditions([*rule.app.paths, *sight.running_matches(rule.app)], sight) or None


def token_conditions(rule: Rule, sight: Sight) -> tuple[Condition, ...]:
    sids = sight.sids(rule) if rule.user or rule.service else None
    return (Condition(Field.USER_ID, match_descriptor(sids)),) if sids else ()


def port_conditions(rule: Rule) -> tuple[Condition, ...]:
    return tuple(Condition(Field.REMOTE_PORT, first if first == last else (first, last)) for first, last in rule.ports)


def network_conditions(rule: Rule, layer: Layer, sight: Sight) -> tuple[Condition, ...] | None:
    """None: the rule names only networks of the other family."""
    if not rule.net or not sight.sees_networks(rule):
        return ()
    return tuple(Condition(Field.REMOTE_ADDRESS, network) for network in networks_at(layer, rule.net)) or None


def networks_at(layer: Layer, networks: Iterable[IPv4Network | IPv6Network]) -> list[IPv4Network] | list[IPv6Network]:
    listed = list(networks)
    v4 = [network for network in listed if isinstance(network, IPv4Network)]
    if layer in _V4_LAYERS:
        return list(collapse_addresses(v4))
    v6 = [part for network in listed if isinstance(network, IPv6Network) for part in _without_mapped(network)]
    mapped = [
        IPv6Network((int(MAPPED.network_address) | int(network.network_address), 96 + network.prefixlen))
        for network in v4
    ]
    return list(collapse_addresses([*v6, *mapped]))


def _without_mapped(network: IPv6Network) -> list[IPv6Network]:
    return list(network.address_exclude(MAPPED)) if MAPPED.subnet_of(network) else [network]
