from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from pointsman.policy.decision import Action, Decision
from pointsman.policy.learned import MAX_ENTRIES, Entry, Kind, Learned, overlay, paused
from pointsman.policy.load import parse_policy
from pointsman.policy.match import Connection
from pointsman.policy.rules import Protocol

NOW = 1000.0


def connection(app: str | None = "/usr/bin/App", host: str | None = "a.example") -> Connection:
    return Connection(app, Protocol.TCP, IPv4Address("203.0.113.1"), 443, host)


def entry(app: str | None = None, host: str | None = None, expires: float | None = 2000.0) -> Entry:
    return Entry(Kind.PASS_THROUGH, "handshake refused: unknown ca", NOW, expires, app, host)


@pytest.mark.parametrize(
    ("one", "applies"),
    [
        (entry("/usr/bin/app"), True),
        (entry("/usr/bin/app", "a.example"), True),
        (entry(host="a.example"), True),
        (entry(host="b.example"), False),
        (entry("/usr/bin/other"), False),
        (entry("/usr/bin/app", expires=NOW), False),
        (entry("/usr/bin/app", expires=None), True),
        (Entry(Kind.PAUSE, "asked for", NOW, None, "/usr/bin/app"), True),
    ],
)
def test_an_entry_turns_decrypting_into_relaying_where_it_holds(one: Entry, applies: bool) -> None:
    decision, by = overlay(Decision(Action.INSPECT, None), connection(), [one], NOW)

    assert (decision.action, by) == ((Action.RELAY, one) if applies else (Action.INSPECT, None))


@pytest.mark.parametrize("action", [Action.BLOCK, Action.DIRECT, Action.RELAY, Action.UPSTREAM])
def test_an_entry_never_undoes_another_action(action: Action) -> None:
    decision, by = overlay(Decision(action, None), connection(), [entry("/usr/bin/app")], NOW)

    assert (decision.action, by) == (action, None)


def test_an_app_or_a_host_that_is_unknown_matches_no_entry() -> None:
    nobody = connection(app=None, host=None)

    for one in (entry("/usr/bin/app"), entry(host="a.example")):
        assert overlay(Decision(Action.INSPECT, None), nobody, [one], NOW)[1] is None


def test_there_is_one_entry_about_each_subject_and_never_too_many() -> None:
    learned = Learned()
    for n in range(MAX_ENTRIES + 5):
        learned = learned.with_entry(entry(f"/app/{n}"), NOW)
    assert len(learned.entries) == MAX_ENTRIES
    assert learned.entries[0].app == "/app/5"

    again = learned.with_entry(entry("/APP/7", expires=None), NOW)
    assert len(again.entries) == MAX_ENTRIES and again.entries[-1].expires is None
    assert again.without(again.entries[-1].subject).entries == tuple(
        one for one in learned.entries if one.app != "/app/7"
    )
    assert learned.with_entry(entry("/app/x"), now=3000.0).entries == (entry("/app/x"),), "those that are over are gone"
    assert len(learned.live(3000.0)) == 0


def test_a_pause_of_everything_keeps_blocks_and_upstreams() -> None:
    text = 'default = "inspect"\n[upstreams]\nu = "socks5://192.0.2.1:1"\n' + "".join(
        f'[[rule]]\nport = {n + 1}\naction = "{action.value}"\n'
        + ('upstream = "u"\n' if action is Action.UPSTREAM else "")
        for n, action in enumerate(Action)
    )
    policy = parse_policy(text.encode(), "p.toml")
    pause = Entry(Kind.PAUSE, "meeting", NOW, 2000.0)

    during = paused(policy, [pause], NOW)
    assert {rule.action for rule in during.rules} == {Action.DIRECT, Action.BLOCK, Action.UPSTREAM}
    assert during.default is Action.DIRECT
    assert [rule.id for rule in during.rules] == [rule.id for rule in policy.rules]
    assert paused(policy, [pause], 2000.0) is policy
    assert paused(policy, [entry("/a")], NOW) is policy


@pytest.mark.parametrize(
    "arguments",
    [
        (Kind.PAUSE, "x", NOW, None, None, "a.example"),
        (Kind.PASS_THROUGH, "x", NOW, None),
        (Kind.PAUSE, "", NOW, None),
        (Kind.PAUSE, "x" * 201, NOW, None),
    ],
)
def test_an_entry_that_means_nothing_is_refused(arguments: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="a "):
        Entry(*arguments)  # type: ignore[arg-type]  # wrong ones on purpose
