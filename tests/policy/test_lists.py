"""Groups and list files: what they may hold, how they refer to each other, and every way in which they are wrong."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import PointsmanError
from pointsman.policy.load import parse_policy
from pointsman.policy.load_lists import MAX_COMPLAINTS
from pointsman.policy.rules import Policy, Rule
from pointsman.policy.tables import HostSet, NetworkSet, unmapped

BLOCK = '\naction = "block"\n'


def load(text: str, **files: str | bytes) -> Policy:
    def read(name: str) -> bytes:
        if name not in files:
            raise ValueError("no such file or directory")
        found = files[name]
        return found if isinstance(found, bytes) else found.encode()

    return parse_policy(text.encode(), "p.toml", read)


def rule(text: str, **files: str | bytes) -> Rule:
    return load(text, **files).rules[0]


def errors(text: str, **files: str | bytes) -> list[str]:
    with pytest.raises(PointsmanError) as caught:
        load(text, **files)
    return caught.value.seen.split("\n")


def test_groups_hold_apps_hosts_and_networks_and_each_other() -> None:
    found = rule(
        """
[groups.apps]
browsers = ["firefox.exe", 'C:\\*\\chrome.exe']
[groups.hosts]
ads = ["*.Ads.example", "@more"]
more = "Bücher.example"
[groups.networks]
lan = ["10.0.0.0/8", "fd00::/8", "::ffff:192.0.2.0/120"]
[[rule]]
app = ["@browsers", "curl"]
host = ["@ads", "x.example"]
net = "@lan"
action = "block"
"""
    )

    assert (
        found.app.matches("D:\\FireFox.exe") and found.app.matches("C:\\x\\Chrome.exe") and found.app.matches("/b/curl")
    )
    assert sorted(found.host) == ["*.ads.example", "x.example", "xn--bcher-kva.example"]
    assert found.net == NetworkSet.of(
        load('[[rule]]\nnet = ["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"]' + BLOCK).rules[0].net
    )


def test_a_list_of_hosts_takes_what_people_have() -> None:
    text = (
        "\ufeff# a comment\r\n\r\nA.example\r\n*.b.example  # why\r\n0.0.0.0 ads.example tracker.example\r\n"
        "127.0.0.1 localhost\n::1 localhost ip6-localhost\nd.example.\n;another\nbücher.example\n_x._tcp.example\n"
    )
    found = rule('[[rule]]\nhost = "file:l"' + BLOCK, l=text)

    assert sorted(found.host) == sorted(
        ["a.example", "*.b.example", "ads.example", "tracker.example", "d.example", "xn--bcher-kva.example",
         "_x._tcp.example"]
    )  # fmt: skip


def test_a_list_of_networks_takes_addresses_and_prefixes_of_both_families() -> None:
    found = rule(
        '[[rule]]\nnet = "file:l"' + BLOCK, l="192.0.2.0/24\n198.51.100.7\n2001:db8::/32 # doc\n::ffff:10.0.0.1\n"
    )

    assert sorted(map(str, found.net)) == ["10.0.0.1/32", "192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"]


def test_a_list_of_apps_takes_paths_with_spaces() -> None:
    found = rule('[[rule]]\napp = "file:l"' + BLOCK, l="C:\\Program Files\\A b\\c.exe\ncurl\n")

    assert found.app.matches("c:/program files/a b/C.EXE") and found.app.matches("/usr/bin/curl")


def test_lists_include_lists_and_a_list_is_read_once() -> None:
    reads: list[str] = []
    files = {"a": b"a.example\n!include b\n!include c\n", "b": b"b.example\n!include c\n", "c": b"c.example\n"}

    def read(name: str) -> bytes:
        reads.append(name)
        return files[name]

    text = ('[[rule]]\nhost = "file:a"' + BLOCK) * 2
    policy = parse_policy(text.encode(), "p.toml", read)

    assert [sorted(one.host) for one in policy.rules] == [["a.example", "b.example", "c.example"]] * 2
    assert sorted(reads) == ["a", "b", "c"] and policy.lists == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "files", "expected"),
    [
        ('[[rule]]\nhost = "@x"' + BLOCK, {}, ['p.toml:2: host: found "@x"; groups of hosts: none']),
        ('[groups.apps]\nx = "a"\n[[rule]]\nhost = "@x"' + BLOCK, {},
         ['p.toml:4: host: found "@x"; groups of hosts: none']),
        ('[groups.hosts]\na = "@b"\nb = "@a"\n[[rule]]\nhost = "@a"' + BLOCK, {},
         ["p.toml:3: groups.hosts.b: a circle: @a → @b → @a"]),
        ('[[rule]]\nhost = "file:a"' + BLOCK, {"a": "\n!include b\n", "b": "!include a\n"},
         ["b:1: a circle: a → b → a"]),
        ('[[rule]]\nhost = "file:a"' + BLOCK, {"a": "!include a"}, ["a:1: a circle: a → a"]),
        ('[[rule]]\nhost = "file:a"' + BLOCK, {},
         ['p.toml:2: host: cannot read the list "a": no such file or directory']),
        ('[[rule]]\nhost = "file:a"' + BLOCK, {"a": "x.example\n!include b"},
         ['a:2: cannot read the list "b": no such file or directory']),
        ('[[rule]]\nhost = "file:a"' + BLOCK, {"a": b"x\n\xff\n"},
         ['p.toml:2: host: cannot read the list "a": not UTF-8: byte 0xff in line 2']),
        ('[[rule]]\nnet = "file:a"' + BLOCK, {"a": "10.0.0.1/8\n10.0.0.0/33\n1.2.3.256\n"},
         ['a:1: found "10.0.0.1/8"; allowed: the network without host bits, "10.0.0.0/8"',
          'a:2: found "10.0.0.0/33"; allowed: an address or a network, such as "192.0.2.7"',
          'a:3: found "1.2.3.256"; allowed: an address or a network, such as "192.0.2.7"']),
        ('[groups.hosts]\nunused = "a b"\n[groups.people]\nx = "y"\n[[rule]]\nport = 1' + BLOCK, {},
         ['p.toml:2: groups.hosts.unused: found "a b"; allowed: a string: one of the hosts, a group',
          "p.toml:3: groups.people: unknown key; allowed: apps, hosts, networks"]),
        ('[groups]\nhosts = 3\n[[rule]]\nport = 1' + BLOCK, {},
         ["p.toml:2: groups.hosts: found 3; allowed: a table of names"]),
        ('groups = 3\n[[rule]]\nport = 1' + BLOCK, {},
         ['p.toml:1: groups: found 3; allowed: tables "apps", "hosts", "networks"']),
        ('[[rule]]\nname = "a"\nport = 1\naction = "block"\n[[rule]]\nport = 2\nname = "a"\naction = "block"', {},
         ['p.toml:7: name: found "a", which the rule of line 2 has']),
        (('[upstreams]\nu = ["ftp://x:1", "socks5://x", "http://a:secret@x", 7]\nv = []\n[[rule]]\n'
          'port = 1\naction = "upstream"'), {},
         ["p.toml:2: upstreams.u", "p.toml:2: upstreams.u", "p.toml:2: upstreams.u", "p.toml:2: upstreams.u",
          "p.toml:3: upstreams.v", "p.toml:6: upstream: missing"]),
        (('[[rule]]\nport = 1\naction = "block"\n'
          'upstream = "x"'), {}, ['p.toml:4: upstream: found "x"; names in [upstreams]: none']),
        (('[[rule]]\naction = "block"\n'
          'on_failure = "closed"'), {}, ['p.toml:3: on_failure: found "closed" with action "block"']),
        (('[[rule]]\naction = "relay"\nhost = "a.b"\n'
          'on_failure = "closed"'), {}, ['p.toml:4: on_failure: found "closed" with host']),
        ('[[rule]]\nuser = "a"\nservice = "b"' + BLOCK, {}, ["p.toml:3: service: found together with `user`"]),
        ('[[rule]]\nprotocol = "quic"\nmethod = "GET"\nparent = "a"' + BLOCK, {},
         ["p.toml:3: method: the proxy, which looks, sees no UDP", "p.toml:4: parent: the proxy"]),
        ('[[rule]]\nprotocol = "tls"\npath = "/a"' + BLOCK, {}, ["p.toml:3: path: inside TLS nobody sees it"]),
        ('[[rule]]\npath = ["a", "/a?b"]\nmethod = ["", 1]\ntime = ["noon", "mon-xyz", "25:00-26:00", ""]'
         '\nservice = "a\\\\b"'
         '\nuser = ["", 1]' + BLOCK, {},
         ["p.toml:2: path"] * 2 + ["p.toml:3: method"] * 2 + ["p.toml:4: time"] * 4 + ["p.toml:5: service"]
         + ["p.toml:6: user"] * 2),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_stands(text: str, files: dict[str, str | bytes], expected: list[str]) -> None:
    found = errors(text, **files)

    assert len(found) == len(expected), found
    for got, begins in zip(found, expected, strict=True):
        assert got.startswith(begins), got


def test_a_list_full_of_nonsense_gives_some_errors_and_a_count() -> None:
    found = errors('[[rule]]\nhost = "file:a"' + BLOCK, a="not a host\n" * 500)

    assert len(found) == MAX_COMPLAINTS + 1
    assert found[-1] == f"a:500: and {500 - MAX_COMPLAINTS} more lines that are wrong"


def test_groups_that_multiply_are_each_gathered_once() -> None:
    lines = "\n".join(f'g{n} = ["@g{n + 1}", "@g{n + 1}"]' for n in range(60))
    found = rule(f'[groups.hosts]\n{lines}\ng60 = "a.example"\n[[rule]]\nhost = "@g0"' + BLOCK)

    assert list(found.host) == ["a.example"]


def test_globs_with_backslashes_are_about_folders_not_escapes() -> None:
    found = rule("[[rule]]\napp = ['C:\\Apps\\v*\\[x]\\a?.exe', '**\\tool.exe']" + BLOCK).app

    assert found.matches("c:\\apps\\v1.2\\[X]\\ab.exe")
    assert not found.matches("c:\\apps\\v1\\2\\[x]\\ab.exe"), "a star does not cross a folder"
    assert not found.matches("c:\\apps\\v1\\x\\ab.exe"), "brackets are themselves"
    assert found.matches("D:\\a\\b\\TOOL.exe")


names = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=4).map(".".join)


@given(st.lists(st.tuples(st.booleans(), names), max_size=8), names)
def test_the_table_of_hosts_says_what_looking_at_each_pattern_says(patterns: list[tuple[bool, str]], host: str) -> None:
    table = HostSet.of(["*." + name if star else name for star, name in patterns])

    assert table.matches(host) == any(host.endswith("." + name) if star else host == name for star, name in patterns)


addresses = st.sampled_from(["10.0.0.1", "10.128.0.1", "192.0.2.1", "::ffff:10.0.0.1", "2001:db8::1", "fe80::1", "::"])
networks = st.lists(
    st.sampled_from(
        ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.0.0.1/32", "::/0", "2001:db8::/32", "::/128", "fe80::/10"]
    ),
    max_size=4,
)


@given(networks, addresses)
def test_the_table_of_networks_says_what_looking_at_each_network_says(listed: list[str], text: str) -> None:
    address = unmapped(ip_address(text))
    plain = [ip_network(one) for one in listed]

    assert NetworkSet.of(plain).matches(ip_address(text)) == any(
        address in one for one in plain if one.version == address.version
    )
    assert set(NetworkSet.of(plain)) == set(plain)


@given(st.binary(max_size=60))
def test_any_bytes_in_a_list_give_a_policy_or_the_one_error(data: bytes) -> None:
    for key in ("host", "net", "app"):
        try:
            load(f'[[rule]]\n{key} = "file:l"' + BLOCK, l=data)
        except PointsmanError as error:
            assert error.code == "PM301"
