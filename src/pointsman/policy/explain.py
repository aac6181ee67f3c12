"""Why a connection fares as it does: the rule, its line, who decides, and the rules that missed by one condition.

Pure; the words are for people, the structure for `--json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pointsman.policy.apps import AppSet, glob_pattern, normal
from pointsman.policy.decision import Action
from pointsman.policy.match import Connection, match_rule
from pointsman.policy.outcome import Outcome
from pointsman.policy.question import Asked
from pointsman.policy.rules import Policy, Protocol, Rule
from pointsman.policy.upstreams import words_of
from pointsman.wire.abi import REASON_TEXT, Reason, Verdict

MAX_NEAR_MISSES = 5
MAX_SHOWN = 3  # values of one condition
_KEYS = ("app", "parent", "user", "service", "net", "ports", "host", "protocol", "detected", "method", "path")


@dataclass(frozen=True, slots=True)
class NearMiss:
    rule: str
    line: int
    action: str
    key: str
    wants: str
    found: str
    if_from: str | None = None
    """Where a program whose place nobody knows would have to lie for the rule to match."""


@dataclass(frozen=True, slots=True)
class Explanation:
    action: str
    """What happens."""
    rule: str
    """The rule that applies; what it says does not happen if `fails_open` tells why."""
    source: str
    line: int
    """0: the default, which has no rule."""
    wanted: str
    """What the rule says."""
    decided_by: str
    """kernel or proxy."""
    kernel: str
    """What the driver says to it."""
    fails_open: str | None
    near_misses: list[NearMiss] = field(default_factory=list)
    upstream: list[str] | None = None
    """The chains of the upstream that it goes through, the first that works."""


def explain(asked: Asked) -> Explanation:
    result, policy = asked.outcome, asked.policy
    rule = result.wanted.rule
    return Explanation(
        action=result.action.value,
        rule=result.wanted.rule_name,
        source=policy.source,
        line=rule.line if rule is not None else 0,
        wanted=result.wanted.action.value,
        decided_by="proxy" if result.is_by_proxy else "kernel",
        kernel=_kernel_words(result, asked.connection),
        fails_open=_why_not(result, asked.connection) if result.fails_open else None,
        near_misses=near_misses(policy, asked.connection, rule),
        upstream=_upstream_words(result, policy),
    )


def _kernel_words(result: Outcome, connection: Connection) -> str:
    match result.kernel.verdict:
        case Verdict.REDIRECT:
            return "redirected to the proxy, which decides"
        case Verdict.BLOCK:
            return "connect() fails" if connection.protocol is Protocol.TCP else "its datagrams are dropped"
        case Verdict.PASS:
            return f"goes direct: {REASON_TEXT[result.kernel.reason]}"


def _upstream_words(result: Outcome, policy: Policy) -> list[str] | None:
    upstream = policy.upstream_of(result.wanted.rule)
    if upstream is None or not result.is_by_proxy or result.action is not result.wanted.action:
        return None
    last = ["direct"] if upstream.may_go_direct else []
    return [*map(words_of, upstream.alternatives), *last]


def _why_not(result: Outcome, connection: Connection) -> str:
    if result.action is Action.BLOCK:
        return "the kernel does not know this program yet, and nobody else can decide about this connection"
    if connection.protocol is Protocol.UDP and result.kernel.reason in (Reason.NOT_TCP, Reason.PASSED_BY_RULE):
        return "UDP is never redirected"
    return REASON_TEXT[result.kernel.reason]


def near_misses(policy: Policy, connection: Connection, applied: Rule | None) -> list[NearMiss]:
    """Rules that one single condition keeps from matching; first those of which most conditions do match."""
    found: list[tuple[int, NearMiss]] = []
    for rule in policy.rules:
        keys = _asked_keys(rule)
        failing = [key for key in keys if match_rule(only(rule, key), connection) is not True]
        if rule is applied or len(failing) != 1:
            continue
        key = {"ports": "port", "detected": "protocol"}.get(failing[0], failing[0])
        wants, seen = wants_of(rule, failing[0]), seen_of(connection, failing[0])
        place = place_for(rule.app, connection.app) if key == "app" else None
        miss = NearMiss(rule.label, rule.line, rule.action.value, key, wants, seen, place)
        found.append((len(keys) + (len(_KEYS) if place else 0), miss))
    found.sort(key=lambda one: -one[0])  # stable: among equals the order of the file
    return [miss for _, miss in found[:MAX_NEAR_MISSES]]


def place_for(wanted: AppSet, app: str | None) -> str | None:
    """The path or glob that matches a program of this mere name, if it lies there."""
    if app is None or "/" in normal(app):
        return None
    for path in (*wanted.paths, *wanted.globs):
        if glob_pattern(normal(path).rpartition("/")[2]).fullmatch(normal(app)):
            return path
    return None


def _asked_keys(rule: Rule) -> list[str]:
    return [key for key in _KEYS if getattr(rule, key)]


def only(rule: Rule, key: str) -> Rule:
    """A rule that asks for this one thing."""
    return replace(Rule(rule.id, rule.name, rule.action), **{key: getattr(rule, key)})


def wants_of(rule: Rule, key: str) -> str:
    match key:
        case "protocol":
            return rule.protocol.name.lower() if rule.protocol else "any"
        case "detected":
            return rule.detected.value if rule.detected else "any"
        case "ports":
            return shortened([str(low) if low == high else f"{low}-{high}" for low, high in rule.ports])
        case _:
            return shortened([str(one) for one in getattr(rule, key)])


def shortened(values: list[str]) -> str:
    rest = len(values) - MAX_SHOWN
    return ", ".join(values[:MAX_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def seen_of(connection: Connection, key: str) -> str:
    match key:
        case "protocol":
            return connection.protocol.name.lower()
        case "detected":
            seen = connection.detected
            return "neither TLS nor HTTP" if seen is None else str(seen.value)
        case "ports":
            return str(connection.port)
        case "net":
            return str(connection.address)
        case "parent":
            return _listed(connection.ancestors)
        case "user":
            return _listed(connection.users)
        case "service":
            return _listed(connection.services)
        case _:
            value = getattr(connection, key)
            return "none" if value is None else str(value)


def _listed(values: object) -> str:
    return ", ".join(sorted(values)) or "none" if isinstance(values, tuple | frozenset) else "unknown"


def readable(one: Explanation) -> str:
    where = f"{one.source}:{one.line}" if one.line else f"{one.source}, no rule matches"
    rows = [f"{one.action}"]
    if one.fails_open is not None:
        rows[0] += f", although the rule says {one.wanted}: {one.fails_open}"
    rows.append(f"  rule:    {one.rule} ({where})")
    rows.append(f"  decides: the {one.decided_by}; the kernel: {one.kernel}")
    if one.upstream is not None:
        rows.append(f"  through: {', or '.join(one.upstream)}")
    for miss in one.near_misses:
        why = f"{miss.key} is {miss.found}, wanted {miss.wants}"
        if miss.if_from is not None:
            why = f"would match if it ran from {miss.if_from}"
        rows.append(f"  near:    line {miss.line}, {miss.rule} ({miss.action}): {why}")
    return "\n".join(rows)
