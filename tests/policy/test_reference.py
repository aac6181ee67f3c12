"""The examples of docs/reference/policy.md are policies, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pointsman.cli.policy import app_bytes
from pointsman.policy.cases import CASE_KEYS, parse_cases
from pointsman.policy.decision import Action
from pointsman.policy.explain import explain
from pointsman.policy.load import parse_policy
from pointsman.policy.load_rule import PROTOCOLS, RULE_KEYS
from pointsman.policy.question import ask

TEXT = (Path(__file__).parents[2] / "docs/reference/policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
POLICIES = [example for example in EXAMPLES if "[[case]]" not in example]


def read_list(name: str) -> bytes:
    assert name == "ads.txt"
    return b"ads.example\n"


@pytest.mark.parametrize("example", POLICIES)
def test_each_example_is_a_policy(example: str) -> None:
    assert parse_policy(example.encode(), "policy.md", read_list).rules


def test_the_table_of_cases_holds_for_the_first_example() -> None:
    (table,) = [example for example in EXAMPLES if "[[case]]" in example]
    policy = parse_policy(POLICIES[0].encode(), "policy.md")
    for case in parse_cases(table.encode(), "cases"):
        found = explain(ask(policy, case.question, minute=case.minute or 0, app_id=app_bytes, sees_tokens=False))
        assert found.action == case.expect
        assert case.rule in (None, found.rule) and case.by in (None, found.decided_by)


def test_every_key_action_and_protocol_is_described() -> None:
    words = set(re.findall(r"`\"?([a-z_]+)\"?[`( =]", TEXT))
    wanted = {*RULE_KEYS, *CASE_KEYS, *PROTOCOLS, *(action.value for action in Action)}

    assert wanted <= words, wanted - words
