"""The law: what the kernel decides by the compiled filters is what the evaluator says; the rest reaches the proxy."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.policy.compile import compile_policy
from pointsman.policy.decision import Action
from pointsman.policy.load import parse_policy
from pointsman.policy.match import UNKNOWN, Address, Connection, evaluate, possible
from pointsman.policy.rules import Network, Policy, Protocol, Rule
from pointsman.wire.abi import RULE_DEFAULT, Verdict
from pointsman.wire.filters import Condition, Field, Filter, Layer

REGISTRATION = 7
APPS = ("/usr/bin/a", "/usr/bin/b")
HOSTS = ("a.example", "b.example", "x.a.example")


def app_id(path: str) -> bytes:
    return path.lower().encode("utf-16-le")


# A brute-force engine: all filters of a layer, heaviest first, each condition looked at by itself.


def holds(condition: Condition, connection: Connection, address: Address) -> bool:
    value = condition.value
    match condition.field:
        case Field.APP_ID:
            return connection.app is not None and value == app_id(connection.app)
        case Field.PROTOCOL:
            return value == connection.protocol.value
        case Field.REMOTE_PORT:
            if isinstance(value, tuple):
                return value[0] <= connection.port <= value[1]
            return value == connection.port
        case Field.REMOTE_ADDRESS:
            assert isinstance(value, IPv4Network | IPv6Network)
            assert value.version == address.version, "a network of another family than its layer"
            return address in value


def classify(filters: list[Filter], layer: Layer, connection: Connection, address: Address) -> Verdict:
    for one in sorted((one for one in filters if one.layer is layer), key=lambda one: -one.weight):
        by_field = [list(run) for _, run in groupby(one.conditions, key=lambda condition: condition.field)]
        if all(any(holds(condition, connection, address) for condition in run) for run in by_field):
            return Verdict(one.context >> 28 & 0xF)
    return Verdict.PASS


def kernel(filters: list[Filter], connection: Connection) -> Verdict:
    """One connect() as WFP classifies it; a dual-stack socket shows the mapped address at the redirect layer only."""
    address = connection.address
    if connection.protocol is Protocol.TCP:
        layer = Layer.CONNECT_REDIRECT_V4 if address.version == 4 else Layer.CONNECT_REDIRECT_V6
        if classify(filters, layer, connection, address) is Verdict.REDIRECT:
            return Verdict.REDIRECT
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    layer = Layer.AUTH_CONNECT_V4 if address.version == 4 else Layer.AUTH_CONNECT_V6
    return classify(filters, layer, connection, address)


networks: list[Network] = [
    IPv4Network("0.0.0.0/0"),
    IPv4Network("10.0.0.0/8"),
    IPv4Network("10.1.0.0/16"),
    IPv4Network("10.1.2.3/32"),
    IPv6Network("::/0"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("2001:db8::1/128"),
]
addresses = [
    *("10.1.2.3", "10.1.2.4", "10.2.0.1", "11.0.0.1"),
    *("::ffff:10.1.2.3", "::ffff:11.0.0.1", "2001:db8::1", "3::1"),
]


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    protocol = draw(st.sampled_from([None, None, Protocol.TCP, Protocol.UDP]))
    may_have_host = protocol is not Protocol.UDP
    return Rule(
        id=0,
        name=None,
        action=draw(st.sampled_from(Action)),
        app=tuple(draw(st.sets(st.sampled_from(APPS), max_size=2))),
        net=tuple(draw(st.lists(st.sampled_from(networks), max_size=3, unique=True))),
        ports=tuple(draw(st.sets(st.sampled_from([(80, 80), (443, 443), (79, 90)]), max_size=2))),
        host=tuple(draw(st.sets(st.sampled_from(["a.example", "*.example"]), max_size=2))) if may_have_host else (),
        protocol=protocol,
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    drawn = draw(st.lists(rules(), max_size=6))
    numbered = [
        Rule(place, rule.name, rule.action, rule.app, rule.net, rule.ports, rule.host, rule.protocol)
        for place, rule in enumerate(drawn)
    ]
    return Policy(tuple(numbered), draw(st.sampled_from(Action)), "test")


connections = st.builds(
    Connection,
    st.sampled_from([*APPS, "/usr/bin/c", None]),
    st.sampled_from(Protocol),
    st.sampled_from(addresses).map(ip_address),
    st.sampled_from([80, 85, 443]),
    st.sampled_from([None, *HOSTS]),
)


@settings(max_examples=600)
@given(policies(), connections)
def test_what_the_kernel_decides_is_what_the_evaluator_says(policy: Policy, connection: Connection) -> None:
    action = evaluate(policy, connection).action

    match kernel(compile_policy(policy, REGISTRATION, app_id), connection):
        case Verdict.PASS if connection.protocol is Protocol.UDP:
            assert action is not Action.BLOCK
        case Verdict.PASS:
            assert action is Action.DIRECT
        case Verdict.BLOCK:
            assert action is Action.BLOCK
        case Verdict.REDIRECT:
            pass  # the proxy asks the evaluator itself


@settings(max_examples=300)
@given(policies(), connections)
def test_what_needs_no_host_never_bothers_the_proxy(policy: Policy, connection: Connection) -> None:
    unknown = Connection(connection.app, connection.protocol, connection.address, connection.port, UNKNOWN)
    open_questions = possible(policy, unknown)

    verdict = kernel(compile_policy(policy, REGISTRATION, app_id), connection)

    if len(open_questions) == 1 and open_questions[0].action in (Action.DIRECT, Action.BLOCK):
        assert verdict is not Verdict.REDIRECT


@given(policies())
def test_filters_are_such_as_wfp_accepts(policy: Policy) -> None:
    filters = compile_policy(policy, REGISTRATION, app_id)

    for layer in Layer:
        weights = [one.weight for one in filters if one.layer is layer]
        assert len(weights) == len(set(weights)), "a tie is decided by chance"
        assert all(0 < weight < 2**64 for weight in weights)
    for one in filters:
        fields = [condition.field for condition in one.conditions]
        assert len([run for run, _ in groupby(fields)]) == len(set(fields)), "one field in two places"
        assert len(one.conditions) == len(set(one.conditions))
        assert one.context >> 32 == REGISTRATION


def compiled(text: str) -> list[tuple[Layer, Verdict, int]]:
    filters = compile_policy(parse_policy(text.encode(), "p.toml"), REGISTRATION, app_id)
    return [(one.layer, Verdict(one.context >> 28 & 0xF), one.context & 0x0FFF_FFFF) for one in filters]


REDIRECT_V4, REDIRECT_V6 = Layer.CONNECT_REDIRECT_V4, Layer.CONNECT_REDIRECT_V6
AUTH_V4, AUTH_V6 = Layer.AUTH_CONNECT_V4, Layer.AUTH_CONNECT_V6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('default = "direct"', []),
        (
            'default = "inspect"',
            [(REDIRECT_V4, Verdict.REDIRECT, RULE_DEFAULT), (REDIRECT_V6, Verdict.REDIRECT, RULE_DEFAULT)],
        ),
        (
            'default = "direct"\n[[rule]]\nnet = "2001:db8::/32"\naction = "block"',
            [(REDIRECT_V6, Verdict.PASS, 0), (AUTH_V6, Verdict.BLOCK, 0)],
        ),
        (
            (
                'default = "direct"\n[[rule]]\nport = 1\naction = "relay"\n'
                '[[rule]]\nnet = "192.0.2.1"\nprotocol = "udp"\naction = "block"\n'
                '[[rule]]\nport = 2\naction = "direct"'
            ),
            [
                (REDIRECT_V4, Verdict.REDIRECT, 0), (REDIRECT_V6, Verdict.REDIRECT, 0),
                (AUTH_V4, Verdict.PASS, 0), (AUTH_V6, Verdict.PASS, 0),
                (AUTH_V4, Verdict.BLOCK, 1), (AUTH_V6, Verdict.BLOCK, 1),
                (REDIRECT_V4, Verdict.PASS, 2), (REDIRECT_V6, Verdict.PASS, 2),
            ],
        ),
    ],
)  # fmt: skip
def test_no_filter_is_made_that_changes_nothing(text: str, expected: list[tuple[Layer, Verdict, int]]) -> None:
    assert compiled(text) == expected


def test_a_rule_that_matches_only_by_host_lets_udp_fall_to_later_rules() -> None:
    text = 'default = "direct"\n[[rule]]\nhost = "a.example"\naction = "direct"\n[[rule]]\naction = "block"'
    filters = compile_policy(parse_policy(text.encode(), "p.toml"), REGISTRATION, app_id)

    def verdict(protocol: Protocol) -> Verdict:
        return kernel(filters, Connection(None, protocol, IPv4Address("192.0.2.1"), 443, None))

    assert verdict(Protocol.UDP) is Verdict.BLOCK
    assert verdict(Protocol.TCP) is Verdict.REDIRECT
