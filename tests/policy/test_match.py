from __future__ import annotations

from ipaddress import ip_address

import pytest

from pointsman.policy.decision import Action
from pointsman.policy.load import parse_policy
from pointsman.policy.match import UNKNOWN, Connection, Unknown, evaluate, possible
from pointsman.policy.rules import Policy, Protocol
from pointsman.policy.tables import HostSet


def policy(text: str) -> Policy:
    return parse_policy(text.encode(), "p.toml")


def connection(
    address: str = "192.0.2.1",
    port: int = 443,
    *,
    app: str | None = "/usr/bin/curl",
    host: str | Unknown | None = None,
    protocol: Protocol = Protocol.TCP,
) -> Connection:
    return Connection(app, protocol, ip_address(address), port, host)


def test_the_first_rule_that_matches_has_the_word() -> None:
    rules = policy('[[rule]]\nport = 443\naction = "relay"\n[[rule]]\nname = "no"\naction = "block"')

    assert evaluate(rules, connection(port=443)).rule_name == "rule 1"
    assert evaluate(rules, connection(port=80)).rule_name == "no"


def test_the_default_has_the_word_if_no_rule_matches() -> None:
    decision = evaluate(policy('default = "direct"'), connection())

    assert (decision.action, decision.rule, decision.rule_name) == (Action.DIRECT, None, "default")


@pytest.mark.parametrize(
    ("condition", "matching", "other"),
    [
        ("app = '/USR/bin/Curl'", connection(), connection(app="/usr/bin/wget")),
        ("app = '/usr/bin/curl'", connection(), connection(app=None)),
        ("net = '192.0.2.0/24'", connection(), connection("192.0.3.1")),
        ("net = '192.0.2.0/24'", connection("::ffff:192.0.2.9"), connection("2001:db8::1")),
        ("net = '::/0'", connection("2001:db8::1"), connection("::ffff:192.0.2.9")),
        ("port = '80-90'", connection(port=90), connection(port=91)),
        ("protocol = 'udp'", connection(protocol=Protocol.UDP), connection()),
        ("host = 'example.com'", connection(host="Example.com."), connection(host="www.example.com")),
        ("host = '*.example.com'", connection(host="a.b.example.com"), connection(host="example.com")),
        ("host = 'example.com'", connection(host="example.com"), connection(host=None)),
        ("host = 'example.com'", connection(host="example.com"), connection(host=UNKNOWN)),
        ("host = 'a.b'", connection(host="a.b"), connection(host="a.b", protocol=Protocol.UDP)),
    ],
)
def test_each_condition_matches_what_it_says(condition: str, matching: Connection, other: Connection) -> None:
    rules = policy(f'default = "direct"\n[[rule]]\n{condition}\naction = "block"')

    assert evaluate(rules, matching).action is Action.BLOCK
    assert evaluate(rules, other).action is Action.DIRECT


def test_all_conditions_of_a_rule_must_hold() -> None:
    rules = policy('default = "direct"\n[[rule]]\nport = 443\nhost = "a.example"\naction = "block"')

    assert evaluate(rules, connection(host="a.example")).action is Action.BLOCK
    assert evaluate(rules, connection(host="a.example", port=80)).action is Action.DIRECT


def test_a_wildcard_does_not_match_across_a_label() -> None:
    below = HostSet.of(["*.example.com"])

    assert not below.matches("badexample.com")
    assert not below.matches(".example.com")


def test_while_the_host_is_unknown_every_rule_with_a_host_stays_possible() -> None:
    rules = policy(
        """
        [[rule]]
        host = "a.example"
        action = "block"
        [[rule]]
        port = 80
        host = "b.example"
        action = "relay"
        [[rule]]
        port = 443
        action = "relay"
        [[rule]]
        action = "direct"
        """
    )

    def names(subject: Connection) -> list[str]:
        return [decision.rule_name for decision in possible(rules, subject)]

    assert names(connection(host=UNKNOWN)) == ["rule 1", "rule 3"]
    assert names(connection(host=None)) == ["rule 3"]
    assert names(connection(host="a.example")) == ["rule 1"]
    assert names(connection(port=80, host=UNKNOWN)) == ["rule 1", "rule 2", "rule 4"]
    assert names(connection(host=UNKNOWN, protocol=Protocol.UDP)) == ["rule 3"]
