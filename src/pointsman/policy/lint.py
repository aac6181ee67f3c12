"""What a policy says that is allowed and yet cannot be meant.

Pure.  Each finding names the rule and its line.  It reports only what is certain: a rule is called shadowed if one
single earlier rule matches everything that it matches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pointsman.policy.apps import AppSet, glob_pattern, normal
from pointsman.policy.decision import Action
from pointsman.policy.persistent import obstacles
from pointsman.policy.rules import Policy, Protocol, Rule
from pointsman.policy.sight import MAX_KERNEL_NETWORKS, Sight
from pointsman.policy.situation import destination_reason
from pointsman.policy.tables import HostSet, NetworkSet
from pointsman.policy.upstreams import Credentials
from pointsman.wire.abi import REASON_TEXT, Reason

MAX_COMPARED = 2000  # entries of one set; longer lists are not compared with each other
MAX_SHADOW_RULES = 1000  # rules; beyond, only the rules that match everything are looked at as shadows


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    line: int
    text: str


def lint(policy: Policy) -> list[Finding]:
    """Upstreams first, then rules, each in the order of the file."""
    found: list[Finding] = []
    everything = [rule for rule in policy.rules if _matches_everything(rule)]
    few = len(policy.rules) <= MAX_SHADOW_RULES
    # As on a system that can ask for users: whether this one can is said when the filters are installed.
    unclosed = {rule.id: why for rule, why in obstacles(policy, Sight(str.encode, sid_of=lambda _: "S-1-1-0"))}
    for place, rule in enumerate(policy.rules):
        earlier = policy.rules[:place] if few else [one for one in everything if one.id < rule.id]
        shadow = next((one for one in earlier if covers(one, rule)), None)
        if shadow is not None:
            text = f'"{rule.label}" never applies: "{shadow.label}" in line {shadow.line} matches all that it matches'
            found.append(Finding("shadowed", rule.line, text))
        found += [Finding(code, rule.line, f'"{rule.label}" {text}') for code, text in _of_rule(rule)]
        if rule.id in unclosed:
            text = f'"{rule.label}" cannot be installed to fail closed: {unclosed[rule.id]}'
            found.append(Finding("closed", rule.line, text))
    return [*_of_upstreams(policy), *found]


def _of_upstreams(policy: Policy) -> Iterator[Finding]:
    used = {rule.upstream for rule in policy.rules}
    for one in policy.upstreams:
        if one.name not in used:
            yield Finding("unused", one.line, f'upstream "{one.name}": no rule goes through it')
        hops = [hop for chain in one.alternatives for hop in chain]
        if any(isinstance(hop.credentials, Credentials) for hop in hops):
            text = f'upstream "{one.name}": has a password in the policy, a file that people show each other; '
            yield Finding("password", one.line, text + 'use { url = "…", auth = "env:NAME" } or "file:NAME"')


def _of_rule(rule: Rule) -> list[tuple[str, str]]:
    return [*_of_udp(rule), *_of_addresses(rule), *_of_requests(rule)]


def _of_udp(rule: Rule) -> Iterator[tuple[str, str]]:
    if rule.protocol is None and (rule.asks_what_was_said or rule.parent) and rule.action is Action.BLOCK:
        what = "a host" if rule.host else "what is said" if rule.asks_what_was_said else "a parent"
        text = f"asks for {what}: it blocks TCP alone, since nobody looks into UDP; so that QUIC does not escape it, "
        yield "udp", text + 'add a rule with `protocol = "quic"` and `action = "block"`'
    if rule.protocol is Protocol.UDP and not rule.action.is_for_kernel:
        yield "udp", f'has action "{rule.action.value}" for UDP, which cannot be redirected: it goes direct; say so'


def _of_addresses(rule: Rule) -> Iterator[tuple[str, str]]:
    reason = _never_redirected(rule.net)
    if rule.protocol is not Protocol.UDP and not rule.action.is_for_kernel and reason is not None:
        text = f'has action "{rule.action.value}" for addresses that the driver never redirects'
        yield "never", f"{text} ({REASON_TEXT[reason]}): they go direct"
    if rule.action is Action.BLOCK and reason is Reason.LOOPBACK_DESTINATION:
        yield "never", "blocks loopback, which the driver never blocks"
    if len(rule.net) > MAX_KERNEL_NETWORKS:
        text = f"has {len(rule.net)} networks, more than the {MAX_KERNEL_NETWORKS} that the kernel is given:"
        yield "long", f"{text} all TCP connections that reach it go to the proxy, and it does not apply to UDP"


def _of_requests(rule: Rule) -> Iterator[tuple[str, str]]:
    if (rule.method or rule.path) and not (rule.action.decrypts or rule.action is Action.BLOCK):
        text = f'has action "{rule.action.value}" for a method or path, which is known when the connection is open: '
        yield "http", text + "such a request is passed on unchanged, unless it is the first of a connection in clear"


def _never_redirected(networks: NetworkSet) -> Reason | None:
    """A reason that holds for all of them, by both ends of each."""
    reason: Reason | None = None
    if not networks or len(networks) > MAX_COMPARED:
        return None
    for network in networks:
        reason = destination_reason(network.network_address)
        if reason is None or destination_reason(network.broadcast_address) is not reason:
            return None
        if network.prefixlen < 4:
            return None  # both ends say nothing about the middle
    return reason


def _matches_everything(rule: Rule) -> bool:
    asks = (rule.app, rule.net, rule.ports, rule.host, rule.time, rule.method, rule.path)
    return not any(asks) and rule.protocol is None and rule.detected is None and not rule.asks_process


def covers(wide: Rule, narrow: Rule) -> bool:
    """Does `wide` certainly match all that `narrow` matches?"""
    return (
        wide.protocol in (None, narrow.protocol)
        and wide.detected in (None, narrow.detected)
        and (not wide.ports or _ports_cover(wide.ports, narrow.ports))
        and _apps_cover(wide.app, narrow.app)
        and _apps_cover(wide.parent, narrow.parent)
        and _networks_cover(wide.net, narrow.net)
        and _hosts_cover(wide.host, narrow.host)
        and all(
            not ours or (bool(theirs) and set(theirs) <= set(ours))
            for ours, theirs in (
                (wide.user, narrow.user), (wide.service, narrow.service), (wide.method, narrow.method),
                (wide.path, narrow.path), (wide.time, narrow.time),
            )
        )
    )  # fmt: skip


def _ports_cover(wide: tuple[tuple[int, int], ...], narrow: tuple[tuple[int, int], ...]) -> bool:
    return bool(narrow) and all(any(low <= first and last <= high for low, high in wide) for first, last in narrow)


def _apps_cover(wide: AppSet, narrow: AppSet) -> bool:
    if not wide:
        return True
    if not narrow:
        return False
    names = narrow.names <= wide.names | {
        name
        for name in narrow.names
        if any("/" not in glob and glob_pattern(glob).fullmatch(name) for glob in wide.globs)
    }
    return names and set(narrow.globs) <= set(wide.globs) and all(wide.matches(normal(path)) for path in narrow.paths)


def _networks_cover(wide: NetworkSet, narrow: NetworkSet) -> bool:
    if not wide:
        return True
    if not narrow or len(narrow) > MAX_COMPARED:
        return False
    return all(
        (found := wide.match(network.network_address)) is not None and found.prefixlen <= network.prefixlen
        for network in narrow
    )


def _hosts_cover(wide: HostSet, narrow: HostSet) -> bool:
    if not wide:
        return True
    if not narrow or len(narrow) > MAX_COMPARED:
        return False
    # Below example.com is all that is below a.example.com, too: ask for a name that stands for all of them.
    return all(wide.matches(name) for name in narrow.exact) and all(
        name in wide.below or HostSet(frozenset(), wide.below).matches(name) for name in narrow.below
    )
