from __future__ import annotations

from random import Random

import pytest

from pointsman.policy.lint import covers, lint
from pointsman.policy.load import parse_policy
from pointsman.policy.match import match_rule

from . import generator


def codes(text: str) -> list[tuple[str, int]]:
    return [(one.code, one.line) for one in lint(parse_policy(text.encode(), "p.toml"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (('[[rule]]\nport = 443\naction = "direct"\n[[rule]]\nport = 443\nnet = "192.0.2.1"\n'
          'action = "relay"'), [("shadowed", 4)]),
        (('[[rule]]\nport = "1-100"\naction = "direct"\n[[rule]]\nport = [80, 99]\nhost = "a.b"\n'
          'action = "relay"'), [("shadowed", 4)]),
        (('[[rule]]\nhost = "*.b.c"\naction = "direct"\n[[rule]]\nhost = ["a.b.c", "*.x.b.c"]\n'
          'action = "relay"'), [("shadowed", 4)]),
        ('[[rule]]\nhost = "*.b.c"\naction = "direct"\n[[rule]]\nhost = ["b.c"]\naction = "relay"', []),
        (('[[rule]]\nnet = "192.0.0.0/8"\naction = "direct"\n[[rule]]\nnet = "192.0.2.0/24"\n'
          'action = "relay"'), [("shadowed", 4)]),
        (('[[rule]]\napp = ["curl", "/a"]\naction = "direct"\n[[rule]]\napp = "/usr/bin/Curl"\n'
          'action = "relay"'), [("shadowed", 4)]),
        ('[[rule]]\napp = "/usr/bin/curl"\naction = "direct"\n[[rule]]\napp = "curl"\naction = "relay"', []),
        ('[[rule]]\nprotocol = "tcp"\naction = "direct"\n[[rule]]\nport = 1\naction = "relay"', []),
        ('[[rule]]\naction = "direct"\ntime = "08:00-09:00"\n[[rule]]\nport = 1\naction = "relay"', []),
        ('[[rule]]\nhost = "a.b"\naction = "block"', [("udp", 1)]),
        ('[[rule]]\nprotocol = "udp"\naction = "relay"', [("udp", 1)]),
        ('[[rule]]\nnet = ["10.0.0.0/8", "192.168.0.0/16"]\naction = "inspect"', [("never", 1)]),
        ('[[rule]]\nnet = ["10.0.0.0/8", "11.0.0.0/8"]\naction = "inspect"', []),
        ('[[rule]]\nnet = "0.0.0.0/0"\naction = "inspect"', []),
        ('[[rule]]\nnet = "127.0.0.0/8"\naction = "block"', [("never", 1)]),
        ('[[rule]]\nport = 1\naction = "intercept"', []),
        ('[[rule]]\nmethod = "POST"\naction = "intercept"', []),
        ('[[rule]]\nport = 1\naction = "relay"\non_failure = "closed"', []),
        ("[[rule]]\napp = '/usr/bin/a'\naction = \"relay\"\non_failure = \"closed\"", []),
        ('[[rule]]\napp = "a.exe"\naction = "relay"\non_failure = "closed"', [("closed", 1)]),
        (('[[rule]]\napp = "a.exe"\naction = "direct"\n[[rule]]\nport = 1\naction = "relay"\n'
          'on_failure = "closed"'), [("closed", 4)]),
        ('[[rule]]\npath = "/a"\naction = "relay"', [("http", 1)]),
        ('[upstreams]\nu = "http://x:1"\n[[rule]]\naction = "upstream"\nupstream = "u"', []),
        ('[upstreams]\nu = "http://x:1"', [("unused", 2)]),
        (('[upstreams]\nu = "http://u:p@x:1"\n[upstreams.v]\nproxies = [{ url = "http://x:1", auth = "env:A" }]\n'
          '[[rule]]\nport = 1\naction = "relay"\nupstream = "u"\n[[rule]]\naction = "relay"\nupstream = "v"'),
         [("password", 2)]),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_found_and_nothing_else(text: str, expected: list[tuple[str, int]]) -> None:
    assert codes(text) == expected


def test_a_rule_that_covers_another_matches_whatever_it_matches() -> None:
    random = Random(12)
    covered = 0
    while covered < 300:
        rules = generator.policy(random).rules
        pairs = [(wide, narrow) for wide in rules for narrow in rules if wide is not narrow and covers(wide, narrow)]
        for wide, narrow in pairs:
            covered += 1
            for _ in range(30):
                connection = generator.case(random).connection
                if match_rule(narrow, connection) is True:
                    assert match_rule(wide, connection) is True, (wide, narrow, connection)
