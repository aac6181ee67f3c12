"""The index finds what asking every rule finds, and asks few."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from msgspec import structs

from pointsman.policy import index as index_module
from pointsman.policy import match
from pointsman.policy.decision import Action, Decision
from pointsman.policy.index import index_of
from pointsman.policy.load import parse_policy
from pointsman.policy.match import UNKNOWN, Connection, evaluate, match_rule, possible
from pointsman.policy.rules import Policy, Protocol, Rule

from . import generator

LATE = ("host", "detected", "method", "path", "ancestors", "users", "services")


def by_asking_all(policy: Policy, connection: Connection) -> tuple[Decision, ...]:
    """Every decision that may fall: the meaning, without an index."""
    found: list[Decision] = []
    for rule in policy.rules:
        matched = match_rule(rule, connection)
        if matched is not False:
            found.append(Decision(rule.action, rule))
        if matched:
            return tuple(found)
    return (*found, Decision(policy.default, None))


def forgetful(random: Random, connection: Connection) -> Connection:
    """The same connection before some of its facts are known."""
    unknown: dict[str, Any] = {key: UNKNOWN for key in LATE if random.random() < 0.3}
    return structs.replace(connection, **unknown)


def many_rules(random: Random) -> Policy:
    rules = [rule for _ in range(random.randint(1, 30)) for rule in generator.policy(random).rules]
    random.shuffle(rules)
    return Policy(tuple(replace(rule, id=place) for place, rule in enumerate(rules)), Action.INSPECT, "random")


@pytest.mark.parametrize("max_keys", [0, 1, 64])
def test_what_is_found_by_index_is_what_is_found_by_asking_all(monkeypatch: pytest.MonkeyPatch, max_keys: int) -> None:
    monkeypatch.setattr(index_module, "MAX_KEYS", max_keys)
    random = Random(41)
    for _ in range(60):
        policy = many_rules(random)
        for _ in range(20):
            connection = forgetful(random, generator.case(random).connection)
            expected = by_asking_all(policy, connection)
            assert possible(policy, connection) == expected
            first = next((one for one in expected if one.rule and match_rule(one.rule, connection)), None)
            assert evaluate(policy, connection) == (first or Decision(policy.default, None))


def test_few_rules_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = "".join(
        f'[[rule]]\nhost = "h{n}.example"\naction = "block"\n[[rule]]\nnet = "198.51.{n}.0/24"\naction = "block"\n'
        f'[[rule]]\napp = \'/opt/{n}/*/a{n}\'\naction = "block"\n[[rule]]\nport = {n + 1}\naction = "block"\n'
        for n in range(200)
    )
    policy = parse_policy(f'default = "direct"\n{rules}'.encode(), "p.toml")
    asked: list[Rule] = []

    def counted(rule: Rule, connection: Connection) -> bool | None:
        asked.append(rule)
        return match_rule(rule, connection)

    monkeypatch.setattr(match, "match_rule", counted)
    connection = Connection("/opt/7/x/a7", Protocol.TCP, ip_address("198.51.150.1"), 100, "h9.example")

    assert evaluate(policy, connection).rule_name == "rule 31"
    assert [rule.id for rule in asked] == [30]
    asked.clear()
    assert evaluate(policy, structs.replace(connection, app="/x", host="h199.example")).rule_name == "rule 400"
    assert len(asked) == 1
    asked.clear()
    assert len(possible(policy, structs.replace(connection, app=None, host=UNKNOWN, port=999))) == 151 + 1
    assert [rule.id for rule in asked] == [601], "nothing is to be asked of a rule that depends on the host alone"


def test_an_index_is_made_once_and_not_passed_on_to_another_policy() -> None:
    policy = parse_policy(b'[[rule]]\nport = 1\naction = "block"', "p.toml")
    index = index_of(policy)

    assert index_of(policy) is index
    assert index_of(replace(policy, rules=())) is not index
    assert policy == parse_policy(b'[[rule]]\nport = 1\naction = "block"', "p.toml")
