"""`[upstreams]`: what is allowed, what is complained about, and that no message and no value shows a password."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import PointsmanError
from pointsman.policy.explain import explain, readable
from pointsman.policy.load import parse_policy
from pointsman.policy.load_upstreams import parse_secret
from pointsman.policy.question import Question, ask
from pointsman.policy.upstreams import Credentials, SecretReference, Speaks, Upstream, words_of

SECRET = "s3cret"


def upstream(value: str) -> Upstream:
    return parse_policy(f"[upstreams]\nu = {value}".encode(), "p.toml").upstreams[0]


def errors(value: str) -> str:
    with pytest.raises(PointsmanError) as caught:
        upstream(value)
    return caught.value.seen


@pytest.mark.parametrize(
    ("url", "speaks", "tls", "place"),
    [
        ("http://a.example:3128", Speaks.CONNECT, False, "a.example:3128"),
        ("https://A.Example.:443/", Speaks.CONNECT, True, "a.example:443"),
        ("socks5://192.0.2.1:1080", Speaks.SOCKS5, False, "192.0.2.1:1080"),
        ("socks5h://bücher.example:1", Speaks.SOCKS5, False, "xn--bcher-kva.example:1"),
        ("socks5+tls://[2001:DB8:0::1]:1080", Speaks.SOCKS5, True, "[2001:db8::1]:1080"),
    ],
)
def test_a_url_says_language_tls_and_place(url: str, speaks: Speaks, tls: bool, place: str) -> None:
    ((hop,),) = upstream(f'"{url}"').alternatives
    assert (hop.speaks, hop.tls, hop.place, hop.credentials) == (speaks, tls, place, None)


def test_one_url_a_chain_and_a_table_of_alternatives() -> None:
    assert len(upstream('["http://a.example:1", "socks5://b.example:2"]').alternatives[0]) == 2
    table = upstream(
        '{ proxies = ["http://a.example:1", ["socks5://b.example:2", "http://c.example:3"]], fallback = "direct" }'
    )
    assert [words_of(chain) for chain in table.alternatives] == [
        "http://a.example:1",
        "socks5://b.example:2 > http://c.example:3",
    ]
    assert (table.may_go_direct, table.asks_by_name) == (True, True)
    plain = upstream('{ proxies = "http://a.example:1", dns = "app" }')
    assert (plain.may_go_direct, plain.asks_by_name) == (False, False)


def test_credentials_are_decoded_and_never_shown() -> None:
    one = upstream(f'"http://al%40ice:{SECRET}%2F%3A@a.example:1"')
    assert one.alternatives[0][0].credentials == Credentials("al@ice", SECRET + "/:")
    assert SECRET not in f"{one} {one!r} {one.alternatives[0][0]}"
    reference = upstream('{ proxies = [{ url = "http://a.example:1", auth = "env:CORP_AUTH" }] }')
    assert reference.alternatives[0][0].credentials == SecretReference("env", "CORP_AUTH")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f'"ftp://u:{SECRET}@x:1"', '…@x:1"; allowed: the URL of a proxy with its port'),
        (f'"http://u:{SECRET}@x"', '…@x"; allowed: the URL of a proxy with its port'),
        (f'"u:{SECRET}@x:1"', '…@x:1"; allowed: the URL of a proxy'),
        (f'"http://u:{SECRET}@x:1/path"', "allowed: the URL of a proxy"),
        (f'"http://u\\u0000:{SECRET}@x:1"', "allowed: the URL of a proxy"),
        (f'"http://:{SECRET}@x:1"', "allowed: credentials with a user that is not empty"),
        (f'"http://u%3A:{SECRET}@x:1"', "allowed: credentials with a user that is not empty and has no colon"),
        (f'"http://u:{SECRET}{"x" * 300}@x:1"', "allowed: credentials of at most 255 bytes each, printable"),
        (f'{{ proxies = [{{ url = "http://u:{SECRET}@x:1", auth = "env:A" }}] }}', "not both"),
        ('{ proxies = [{ url = "http://x:1", auth = "A" }] }', 'allowed: auth = "env:NAME"'),
        ('{ proxies = [{ auth = "env:A" }] }', "found a table without url; allowed: a URL, or {"),
        ('{ proxies = [] }', "proxies: found 0; allowed: a list of 1 to 16 proxies or chains"),
        ('{ }', "proxies: found 0; allowed: a list of 1 to 16 proxies or chains"),
        ('{ proxies = "http://x:1", fallback = "open" }', 'fallback: found "open"; allowed: "fail", "direct"'),
        ('{ proxies = "http://x:1", dns = 1 }', 'dns: found 1; allowed: "remote", "app"'),
        ('{ proxies = "http://x:1", proxy = 1 }', "proxy: unknown key; allowed: proxies, fallback, dns"),
        ('["http://x:1", 7]', "found a int; allowed: the URL of a proxy"),
        ('"http://x%y:1"', "allowed: a URL with a host name or an address"),
        ('"http://1.2.3.4.5:1"', "allowed: a URL with a host name or an address"),
        ('"http://[fe80::1%25eth0]:1"', "allowed:"),
        ("[" + '"http://x:1",' * 9 + "]", "found a chain of 9 proxies; at most 8 are allowed"),
    ],
)  # fmt: skip
def test_what_is_no_upstream_is_complained_about_without_its_password(value: str, found: str) -> None:
    seen = errors(value)
    assert seen.startswith("p.toml:2: upstreams.u: ")
    assert found in seen
    assert SECRET not in seen


def test_a_url_in_the_wrong_place_does_not_show_its_password_either() -> None:
    text = f'[[rule]]\nport = 1\naction = "relay"\nupstream = "http://u:{SECRET}@x:1"'
    with pytest.raises(PointsmanError) as caught:
        parse_policy(text.encode(), "p.toml")
    assert 'upstream: found "http://…@x:1"' in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("action", ["upstream", "relay", "inspect", "intercept"])
def test_every_action_of_the_proxy_may_go_through_an_upstream(action: str) -> None:
    text = f'[upstreams]\nu = "http://x:1"\n[[rule]]\nport = 1\naction = "{action}"\nupstream = "u"'
    policy = parse_policy(text.encode(), "p.toml")
    assert policy.upstream_of(policy.rules[0]) == policy.upstreams[0]
    assert policy.upstream_of(None) is None


@pytest.mark.parametrize("action", ["direct", "block"])
def test_what_the_kernel_does_alone_goes_through_nothing(action: str) -> None:
    text = f'[upstreams]\nu = "http://x:1"\n[[rule]]\nport = 1\naction = "{action}"\nupstream = "u"'
    with pytest.raises(PointsmanError, match=f'upstream: found with action "{action}"'):
        raise_seen(text)


def raise_seen(text: str) -> None:
    try:
        parse_policy(text.encode(), "p.toml")
    except PointsmanError as error:
        raise PointsmanError(error.seen, code="", seen="", effect="", do="") from None


@given(st.text(max_size=60))
def test_any_text_of_a_secret_gives_credentials_or_what_is_allowed(text: str) -> None:
    try:
        found = parse_secret(text)
    except ValueError as error:
        assert not text.strip() or len(text) < 8 or text not in str(error)
    else:
        assert text.startswith(f"{found.user}:{found.password}") or not found.password


@given(st.text(max_size=40))
def test_any_text_for_a_url_gives_a_proxy_or_an_error_of_the_policy(text: str) -> None:
    quoted = (
        '"' + "".join(f"\\U{ord(character):08x}" for character in text if not 0xD800 <= ord(character) < 0xE000) + '"'
    )
    try:
        upstream(quoted)
    except PointsmanError as error:
        assert error.code == "PM301"


def test_why_says_through_what_a_connection_goes_and_no_password() -> None:
    text = (
        f'[upstreams.u]\nproxies = ["http://u:{SECRET}@a.example:1", ["socks5://b.example:2", "https://c.example:3"]]\n'
        'fallback = "direct"\n[[rule]]\nport = 443\naction = "inspect"\nupstream = "u"'
    )
    question = Question(app="/usr/bin/curl", address=ip_address("203.0.113.9"))
    policy = parse_policy(text.encode(), "p.toml")
    one = explain(ask(policy, question, minute=0, app_id=str.encode, sees_tokens=False))
    assert one.upstream == ["http://a.example:1", "socks5://b.example:2 > https://c.example:3", "direct"]
    assert "  through: http://a.example:1, or socks5://b.example:2 > https://c.example:3, or direct" in readable(one)
    assert SECRET not in readable(one)
