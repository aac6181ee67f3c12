"""`on_failure = "closed"` in the filter engine: without a proxy it blocks what it covers, with one it adds nothing."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest

from pointsman.control import policy_closed
from pointsman.errors import PointsmanError
from pointsman.policy.compile import compile_policy
from pointsman.policy.decision import Action
from pointsman.policy.load import parse_policy
from pointsman.policy.match import Connection
from pointsman.policy.outcome import outcome
from pointsman.policy.persistent import is_closed, obstacles, persistent_filters
from pointsman.policy.rules import OnFailure, Policy, Protocol, Rule
from pointsman.policy.sight import Sight
from pointsman.policy.situation import NORMAL, destination_reason
from pointsman.system.interface import DriverError
from pointsman.testing.system import FakeSystem
from pointsman.wire.abi import Verdict
from pointsman.wire.filters import Layer, NativeFilter

from . import generator
from .driver import PROXY, Driver, app_id
from .test_law import KNOBS

POLICIES, CONNECTIONS = 60, 20
SIGHT = Sight(app_id)


def closing(random: Random, rule: Rule) -> Rule:
    """This rule, closed if it can be."""
    late = rule.asks_what_was_said or rule.parent or rule.user
    if rule.action.is_for_kernel or late or rule.app.is_open or random.random() < 0.2:
        return rule
    return replace(rule, on_failure=OnFailure.CLOSED)


def closed_policy(random: Random) -> Policy:
    while True:
        policy = generator.policy(random)
        policy = replace(policy, rules=tuple(closing(random, rule) for rule in policy.rules))
        if any(map(is_closed, policy.rules)) and not obstacles(policy, SIGHT):
            return policy


def is_blocked_without_proxy(policy: Policy, connection: Connection) -> bool:
    """The meaning, in the words of docs/reference/policy.md."""
    if connection.protocol is not Protocol.TCP or destination_reason(connection.address) is not None:
        return False
    for rule in policy.rules:
        if rule.action is not Action.BLOCK and SIGHT.with_paths_of(policy).match(rule, connection) is not False:
            return is_closed(rule)
    return False


@pytest.mark.parametrize("knobs", KNOBS)
def test_without_a_proxy_what_a_closed_rule_covers_is_blocked_and_nothing_else(knobs: str) -> None:
    random = Random(31)
    blocked = passed = 0
    with Driver(KNOBS[knobs]) as driver:
        before = 0
        for _ in range(POLICIES):
            policy = closed_policy(random)
            filters = persistent_filters(policy, SIGHT)
            driver.simulator.replace_persistent_filters(PROXY, before, filters)
            before = len(filters)
            driver.load([])  # the proxy's own filters have gone with it
            for _ in range(CONNECTIONS):
                connection = generator.case(random).connection
                expected = is_blocked_without_proxy(policy, connection)
                verdict = driver.verdict(connection, NORMAL)
                assert (verdict is Verdict.BLOCK) == expected, generator.describe(
                    policy, generator.Case(connection, NORMAL)
                )
                blocked, passed = blocked + expected, passed + (not expected)
        driver.simulator.replace_persistent_filters(PROXY, before, [])
    assert blocked > 50 and passed > 200


@pytest.mark.parametrize("knobs", KNOBS)
def test_with_a_proxy_they_change_nothing(knobs: str) -> None:
    random = Random(32)
    redirected = 0
    with Driver(KNOBS[knobs]) as driver:
        before = 0
        for _ in range(POLICIES):
            policy = closed_policy(random)
            sight = Sight(app_id, running=generator.running(random))
            filters = persistent_filters(policy, SIGHT)
            driver.simulator.replace_persistent_filters(PROXY, before, filters)
            before = len(filters)
            driver.load(compile_policy(policy, driver.registration, sight))
            for _ in range(CONNECTIONS):
                connection = generator.case(random).connection
                foretold = outcome(policy, connection, sight, NORMAL).kernel.verdict
                assert driver.verdict(connection, NORMAL) is foretold, generator.describe(
                    policy, generator.Case(connection, NORMAL)
                )
                redirected += foretold is Verdict.REDIRECT
        driver.simulator.replace_persistent_filters(PROXY, before, [])
    assert redirected > 100


def policy_of(text: str) -> Policy:
    return parse_policy(f'default = "direct"\n{text}'.encode(), "p.toml")


CLOSED = '[[rule]]\nname = "c"\napp = \'/opt/a\'\naction = "inspect"\non_failure = "closed"\n'


def test_they_are_installed_when_asked_listed_and_removed() -> None:
    system = FakeSystem()

    found = policy_closed.install(system, policy_of(CLOSED), "/opt/proxy")

    assert [(one.name, one.blocks) for one in found if one.layer is Layer.AUTH_CONNECT_V6] == [
        ("never redirected: permit", False), ("c: closed", True),
    ]  # fmt: skip
    assert policy_closed.installed(system) == found
    assert policy_closed.remove(system) == len(found)
    assert policy_closed.installed(system) == []
    assert policy_closed.remove(system) == 0


def test_a_rule_for_every_app_does_not_block_the_proxy_itself() -> None:
    policy = policy_of('[[rule]]\nnet = "203.0.113.0/24"\naction = "inspect"\non_failure = "closed"\n')
    with Driver(KNOBS["lab"]) as driver:
        filters = persistent_filters(policy, SIGHT, "/opt/proxy")
        driver.simulator.replace_persistent_filters(PROXY, 0, filters)
        driver.load([])

        def verdict(app: str) -> Verdict:
            return driver.verdict(Connection(app, Protocol.TCP, ip_address("203.0.113.9"), 443), NORMAL)

        assert (verdict("/opt/proxy"), verdict("/opt/app")) == (Verdict.PASS, Verdict.BLOCK)
        driver.simulator.replace_persistent_filters(PROXY, len(filters), [])
        assert verdict("/opt/app") is Verdict.PASS


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "no rule has on_failure"),
        (CLOSED.replace("/opt/a", "a.exe"), "p.toml:2: c: app: write full paths"),
        (CLOSED.replace("action", 'user = "alice"\naction'), "p.toml:2: c: user, service"),
        (
            '[[rule]]\napp = "b"\naction = "direct"\n' + CLOSED.replace("app = '/opt/a'", "port = 1"),
            "p.toml:5: c: no app",
        ),
        (CLOSED + "".join(CLOSED.replace('"c"', f'"c{n}"') for n in range(600)), "1204 filters are needed"),
    ],
)  # fmt: skip
def test_what_cannot_be_closed_is_said_and_nothing_is_installed(text: str, seen: str) -> None:
    system = FakeSystem()

    with pytest.raises(PointsmanError) as caught:
        policy_closed.install(system, policy_of(text), "/opt/proxy")

    assert caught.value.code == "PM304" and seen in caught.value.seen
    assert system.persistent_filters.filters == []


def test_a_filter_engine_that_refuses_is_told_in_four_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    system = FakeSystem()

    def refuse(_: list[NativeFilter]) -> None:
        raise DriverError("FwpmTransactionBegin0", 5)

    monkeypatch.setattr(system.persistent_filters, "replace", refuse)
    for act in (lambda: policy_closed.install(system, policy_of(CLOSED), "/p"), lambda: policy_closed.remove(system)):
        with pytest.raises(PointsmanError) as caught:
            act()
        assert caught.value.code == "PM208" and "FwpmTransactionBegin0" in caught.value.seen
