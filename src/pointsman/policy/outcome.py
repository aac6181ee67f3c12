"""What will happen to a connection on a machine, and who makes it so: the kernel alone, or the proxy.

Pure.  `match.evaluate` says what the rules mean; this adds where the driver lets a connection go direct all the same
(`situation`) and how far the kernel sees (`sight`).  The law (tests/policy/test_law.py): for every policy and
connection, the compiled filters in the real driver, and then the proxy, do what is said here.
"""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.policy.decision import Action, Decision
from pointsman.policy.match import Connection, evaluate
from pointsman.policy.rules import Policy, Protocol, Rule
from pointsman.policy.sight import HandOver, Sight, hand_over
from pointsman.policy.situation import NORMAL, Situation, destination_reason, not_ours, not_redirectable
from pointsman.wire.abi import Reason, Verdict


@dataclass(frozen=True, slots=True)
class KernelAnswer:
    verdict: Verdict
    reason: Reason
    rule: Rule | None = None
    """That decided; None for the default, for a reason of the driver's own, and for a redirect (the proxy decides)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    action: Action
    """What happens; a connection that the kernel lets pass is `direct`."""
    wanted: Decision
    """What the rules say."""
    kernel: KernelAnswer

    @property
    def is_by_proxy(self) -> bool:
        return self.kernel.verdict is Verdict.REDIRECT

    @property
    def fails_open(self) -> bool:
        """The rules want something else, and it cannot be had."""
        return self.action is not self.wanted.action


def outcome(policy: Policy, connection: Connection, sight: Sight, situation: Situation = NORMAL) -> Outcome:
    """`connection` with all its facts, also those that come late; what stays unknown counts as "no"."""
    wanted = evaluate(policy, connection)
    kernel = kernel_answer(policy, connection, sight, situation)
    action = {Verdict.PASS: Action.DIRECT, Verdict.BLOCK: Action.BLOCK}.get(kernel.verdict, wanted.action)
    return Outcome(action, wanted, kernel)


def kernel_answer(policy: Policy, connection: Connection, sight: Sight, situation: Situation = NORMAL) -> KernelAnswer:
    """What the driver says to one connect(), or to the first datagram to a destination."""
    reason = not_ours(situation)
    if reason is not None:
        return KernelAnswer(Verdict.PASS, reason)
    sight = sight.with_paths_of(policy)
    failed: Reason | None = None
    if connection.protocol is Protocol.TCP and _is_for_proxy(policy, connection, sight):
        failed = not_redirectable(connection, situation)
        if failed is None:
            return KernelAnswer(Verdict.REDIRECT, Reason.REDIRECTED)
    return _authorize(policy, connection, sight, failed)


def _is_for_proxy(policy: Policy, connection: Connection, sight: Sight) -> bool:
    """Does the redirect layer want to hand it over?"""
    handing = hand_over(policy, sight)
    for place, rule in enumerate(policy.rules):
        if rule.protocol is Protocol.UDP:
            continue
        if handing is not None and handing.is_sweeping and place == handing.place:
            return True
        matched = sight.match(rule, connection)
        if matched is None or (matched and not rule.action.is_for_kernel):
            return True
        if matched:
            return _is_unknown(handing, place, connection)
    return not policy.default.is_for_kernel or _is_unknown(handing, len(policy.rules), connection)


def _is_unknown(handing: HandOver | None, place: int, connection: Connection) -> bool:
    return handing is not None and place > handing.place and not handing.knows(connection.app)


def _authorize(policy: Policy, connection: Connection, sight: Sight, failed: Reason | None) -> KernelAnswer:
    """The authorise layer.  `failed`: why the connection that was to be redirected was not."""
    for rule in policy.rules:
        matched = sight.match(rule, connection)
        if matched is None and connection.protocol is Protocol.TCP:
            return KernelAnswer(Verdict.PASS, failed or Reason.PASSED_BY_RULE)
        if matched:
            return _settled(rule.action, rule, connection, failed)
    return _settled(policy.default, None, connection, failed)


def _settled(action: Action, rule: Rule | None, connection: Connection, failed: Reason | None) -> KernelAnswer:
    if action is Action.BLOCK:
        if destination_reason(connection.address) is Reason.LOOPBACK_DESTINATION:
            return KernelAnswer(Verdict.PASS, Reason.LOOPBACK_DESTINATION)
        return KernelAnswer(Verdict.BLOCK, Reason.BLOCKED_BY_RULE, rule)
    if action is Action.DIRECT:
        return KernelAnswer(Verdict.PASS, failed or Reason.PASSED_BY_RULE, rule)
    return KernelAnswer(Verdict.PASS, failed or Reason.NOT_TCP, rule)
