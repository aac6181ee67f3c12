from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import Exit, PointsmanError
from pointsman.policy.apps import AppSet
from pointsman.policy.decision import Action
from pointsman.policy.load import parse_policy
from pointsman.policy.rules import Policy, Protocol, Rule
from pointsman.policy.tables import HostSet, NetworkSet

FULL = """\
default = "relay"

[[rule]]
name = "everything at once"
app = ['C:\\Program Files\\A\\a.exe', "/usr/bin/a"]
net = ["192.0.2.0/24", "2001:db8::1", "::ffff:10.0.0.0/104"]
port = [443, "8000-8099"]
host = ["Example.com", "*.Bücher.de"]
protocol = "tcp"
action = "inspect"

[[rule]]
action = "block"
"""


def load(text: str) -> Policy:
    return parse_policy(text.encode(), "p.toml")


def errors(text: str | bytes) -> list[str]:
    with pytest.raises(PointsmanError) as caught:
        parse_policy(text if isinstance(text, bytes) else text.encode(), "p.toml")
    assert caught.value.code == "PM301"
    assert caught.value.status is Exit.POLICY
    return caught.value.seen.split("\n")


def test_every_key_is_understood() -> None:
    policy = load(FULL)

    assert policy.default is Action.RELAY
    assert policy.rules[0] == Rule(
        id=0,
        name="everything at once",
        action=Action.INSPECT,
        app=AppSet.of(["C:\\Program Files\\A\\a.exe", "/usr/bin/a"]),
        net=NetworkSet.of([IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::1/128"), IPv4Network("10.0.0.0/8")]),
        ports=((443, 443), (8000, 8099)),
        host=HostSet.of(["example.com", "*.xn--bcher-kva.de"]),
        protocol=Protocol.TCP,
        line=3,
    )
    assert policy.rules[1] == Rule(id=1, name=None, action=Action.BLOCK, line=12)
    assert policy.rules[1].label == "rule 2"


def test_the_default_is_inspect() -> None:
    assert load('[[rule]]\naction = "block"').default is Action.INSPECT


def test_all_errors_come_at_once_with_line_key_found_and_allowed() -> None:
    found = errors(
        """\
deflt = 1
default = "insp"
[[rule]]
port = [0, "9-3", true, 70000]
net = ["10.0.0.1/8", "x", 7]
host = ["192.0.2.1", "a..b", "*"]
app = ["**", ""]
protocol = "icmp"
name = ""
actoin = "direct"

[[rule]]
host = []
action = "drop"
"""
    )

    assert found[0] == "p.toml:1: deflt: unknown key; allowed: default, groups, upstreams, rule"
    assert found[1] == 'p.toml:2: default: found "insp"; allowed: "direct", "block", "relay", "inspect", "intercept"'
    assert 'p.toml:5: net: found "10.0.0.1/8"; allowed: the network without host bits, "10.0.0.0/8"' in found
    assert (
        'p.toml:14: action: found "drop"; allowed: "direct", "block", "relay", "inspect", "intercept", "upstream"'
        in found
    )
    lines = [line.split(": ")[:2] for line in found]
    expected = [
        *["1: deflt", "2: default", "3: action"],
        *["4: port"] * 4,
        *["5: net"] * 3,
        *["6: host"] * 3,
        *["7: app"] * 2,
        *["8: protocol", "9: name", "10: actoin", "13: host", "14: action"],
    ]
    assert [f"{where.removeprefix('p.toml:')}: {key}" for where, key in lines] == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", 'p.toml:1: the file is empty; at least `default = "inspect"` is needed'),
        ("# nothing\n", 'p.toml:1: the file is empty; at least `default = "inspect"` is needed'),
        (b"default = 'a'\n\xff", "p.toml:2: not UTF-8: byte 0xff"),
        ("default = \n", "p.toml:1: not TOML: Invalid value (column 11)"),
        ("\nport = " + "9" * 5000 + "\na = 1", "p.toml:2: not TOML: Exceeds the limit (4300 digits)"),
        ("a = " + "[" * 100_000, "p.toml:1: not TOML: maximum recursion depth exceeded"),
        ("default = 'block'\ndefault = 'direct'", "p.toml:2: not TOML: Cannot overwrite a value"),
        ("\n\nrule = 3", "p.toml:3: rule: found 3; rules are tables under [[rule]]"),
        ("[rule]\naction = 'block'", "p.toml:1: rule: found {'action': 'block'}; rules are tables under [[rule]]"),
        ("default = ['block']",
         'p.toml:1: default: found [\'block\']; allowed: "direct", "block", "relay", "inspect", "intercept"'),
        ("[[rule]]\naction = 'block'\nhost = 'a.b'\nprotocol = 'udp'",
         'p.toml:3: host: nobody reads a host out of UDP; use `net`, or drop `protocol = "udp"`'),
    ],
)  # fmt: skip
def test_what_cannot_be_a_policy_is_refused_with_its_line(text: str | bytes, error: str) -> None:
    (found,) = errors(text)
    assert found.startswith(error)


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("B\u00fccher.Example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example.", "xn--bcher-kva.example"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),  # as browsers have it, not "strasse"
        ("STRA\u1e9eE.example", "xn--strae-oqa.example"),
        ("\u03b2\u03cc\u03bb\u03bf\u03c2.example", "xn--nxasmm1c.example"),
        ("a\u3002example", "a.example"),
        ("*.\u65e5\u672c.example", "*.xn--wgv71a.example"),
        ("\uff41.example", "a.example"),
    ],
)
def test_a_host_is_compared_in_one_spelling(written: str, compared: str) -> None:
    assert list(load(f'[[rule]]\nhost = "{written}"\naction = "block"').rules[0].host) == [compared]


@pytest.mark.parametrize(
    "name", ["\u00fc" * 70 + ".a", "xn--\u00fc.a", "a..b", "\u00df .a", "\u00df/.a", "\u00df" * 70 + ".a"]
)
def test_a_name_that_no_host_can_have_is_refused(name: str) -> None:
    assert errors(f'[[rule]]\nhost = "{name}"\naction = "block"')[0].startswith("p.toml:2: host: found ")


def test_a_byte_order_mark_of_a_windows_editor_is_no_error() -> None:
    assert parse_policy(b'\xef\xbb\xbfdefault = "block"', "p.toml").default is Action.BLOCK


def test_rules_in_an_unusual_form_are_rules_all_the_same() -> None:
    assert load('rule = [{ action = "block" }, { action = "direct", port = 1 }]').rules[1].ports == ((1, 1),)


@given(st.binary(max_size=100))
def test_any_bytes_give_a_policy_or_the_one_error(data: bytes) -> None:
    for text in (data, b"[[rule]]\naction = 'block'\n" + data):
        try:
            parse_policy(text, "p.toml")
        except PointsmanError as error:
            assert error.code == "PM301"


@given(
    st.sampled_from(["default", "rule", "name", "app", "net", "port", "host", "protocol", "action"]),
    st.sampled_from(
        ["1", "1.5", "true", "''", "'x'", "[]", "[[]]", "{}", "1979-05-27", "['*.*', 9]", "'*.'", "'\\\\'", "nan"]
    ),
)
def test_any_value_for_any_key_gives_a_policy_or_the_one_error(key: str, value: str) -> None:
    for text in (f"{key} = {value}", f"[[rule]]\n{key} = {value}\n"):
        try:
            load(text)
        except PointsmanError as error:
            assert error.code == "PM301"
