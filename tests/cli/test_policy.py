"""`pointsman policy` and `pointsman why` as a person types them."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pointsman.cli.main import cli
from pointsman.errors import Exit, PointsmanError
from pointsman.testing.system import FakeSystem

POLICY = """\
default = "inspect"

[groups.hosts]
ads = ["*.ads.example", "file:more.txt"]

[[rule]]
name = "no ads"
host = "@ads"
action = "block"

[[rule]]
name = "mail"
app = ["mail.exe", "/opt/mail-*/mail"]
port = [25, "465-587"]
action = "relay"

[[rule]]
name = "office hours"
net = "198.51.100.0/24"
time = "mon-fri 08:00-18:00"
action = "direct"

[[rule]]
name = "no QUIC"
protocol = "quic"
action = "block"
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    (tmp_path / "more.txt").write_text("tracker.example\n")
    (tmp_path / "policy.toml").write_text(POLICY)
    return str(tmp_path / "policy.toml")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=True)


def why(policy: str, *arguments: str) -> dict[str, object]:
    result = run("why", *arguments, "--policy", policy, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_why_names_verdict_rule_line_and_who_decides(policy: str) -> None:
    found = why(policy, "/usr/bin/curl", "203.0.113.9", "--host", "x.ads.example")

    assert (found["action"], found["rule"], found["line"], found["decided_by"]) == ("block", "no ads", 6, "proxy")
    assert found["fails_open"] is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("/usr/bin/curl", "203.0.113.9"), ("inspect", "default", "proxy")),
        (("/usr/bin/curl", "203.0.113.9:443", "--host", "tracker.example"), ("block", "no ads", "proxy")),
        (("/usr/bin/curl", "10.0.0.1", "--host", "tracker.example"), ("direct", "no ads", "kernel")),
        (("/opt/mail-7/mail", "203.0.113.9:465"), ("relay", "mail", "proxy")),
        (("C:\\x\\MAIL.EXE", "203.0.113.9:25"), ("relay", "mail", "proxy")),
        (("/opt/mail-7/x/mail", "203.0.113.9:465"), ("inspect", "default", "proxy")),
        (("/usr/bin/curl", "203.0.113.9", "--protocol", "quic"), ("block", "no QUIC", "kernel")),
        (("/usr/bin/curl", "[2001:db8::1]:443", "--protocol", "udp"), ("block", "no QUIC", "kernel")),
        (("/usr/bin/curl", "198.51.100.9", "--at", "tue 12:00"), ("direct", "office hours", "proxy")),
        (("/usr/bin/curl", "198.51.100.9", "--at", "tue 18:00"), ("inspect", "default", "proxy")),
    ],
)
def test_why_answers_for_many_connections(
    policy: str, arguments: tuple[str, ...], expected: tuple[str, str, str]
) -> None:
    found = why(policy, *arguments)

    assert (found["action"], found["rule"], found["decided_by"]) == expected


def test_why_says_why_a_rule_does_not_get_its_way_and_what_nearly_matched(policy: str) -> None:
    text = run("why", "/opt/mail-7/mail", "192.168.1.1:25", "--policy", policy).stdout
    assert text.startswith("direct, although the rule says relay: private destination\n")
    assert f"{policy}:11" in text

    text = run("why", "/opt/mail-7/mail", "203.0.113.9:443", "--policy", policy).stdout
    assert "line 11, mail (relay): port is 443, wanted 25, 465-587" in text


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the system's resolver knows."""
    known: dict[str, list[str]] = {}

    def look_up(name: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if name not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(0, 0, 0, "", (address, port)) for address in known[name]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_why_takes_a_name_and_asks_what_it_means(policy: str, names: dict[str, list[str]]) -> None:
    names["x.ads.example"] = ["203.0.113.9", "203.0.113.9", "2001:db8::1"]
    found = why(policy, "/usr/bin/curl", "X.Ads.Example.:8443")

    assert (found["action"], found["rule"], found["host"], found["port"]) == ("block", "no ads", "x.ads.example", 8443)
    assert found["addresses"] == ["203.0.113.9", "2001:db8::1"]
    assert why(policy, "/usr/bin/curl", "x.ads.example", "--host", "other.example")["rule"] == "default"


def test_why_answers_for_each_address_where_they_differ(policy: str, names: dict[str, list[str]]) -> None:
    names["intra.example"] = ["203.0.113.9", "10.0.0.1", "203.0.113.10", "fe80::1%eth0"]
    result = run("why", "/usr/bin/curl", "intra.example", "--policy", policy, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]

    assert [(row["action"], row["addresses"]) for row in rows] == [
        ("inspect", ["203.0.113.9", "203.0.113.10"]), ("direct", ["10.0.0.1", "fe80::1"]),
    ]  # fmt: skip
    text = run("why", "/usr/bin/curl", "intra.example", "--policy", policy).stdout
    assert "  to:      intra.example (203.0.113.9, 203.0.113.10)\n" in text


def test_why_says_that_a_name_does_not_resolve_and_answers_all_the_same(
    policy: str, names: dict[str, list[str]]
) -> None:
    result = run("why", "/usr/bin/curl", "tracker.example", "--policy", policy)

    assert result.exit_code == 0 and result.stdout.startswith("block\n")
    assert "tracker.example does not resolve here" in result.stderr
    assert why(policy, "/usr/bin/curl", "tracker.example", "--address", "10.0.0.1")["action"] == "direct"


def test_why_takes_an_international_name(policy: str, names: dict[str, list[str]], tmp_path: Path) -> None:
    names["xn--bcher-kva.example"] = ["203.0.113.9"]
    file = tmp_path / "idn.toml"
    file.write_text('[[rule]]\nname = "books"\nhost = "B\u00fccher.example"\naction = "block"\n', encoding="utf-8")

    for name in ("b\u00fccher.example", "B\u00dcCHER.example", "xn--bcher-kva.example"):
        assert why(str(file), "/usr/bin/curl", name)["rule"] == "books"


class Running:
    def __init__(self, *paths: str) -> None:
        self._paths = frozenset(paths)

    def running(self) -> frozenset[str]:
        return self._paths


PLACES = """\
[[rule]]
name = "the real one"
app = 'C:\\Program Files\\Google\\Chrome\\chrome.exe'
action = "relay"

[[rule]]
name = "any version"
app = 'C:\\Apps\\*\\chrome.exe'
action = "direct"
"""


@pytest.fixture
def places(tmp_path: Path) -> str:
    (tmp_path / "places.toml").write_text(PLACES)
    return str(tmp_path / "places.toml")


def test_a_mere_name_means_the_programs_that_run_under_it(places: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, other = "C:\\Program Files\\Google\\Chrome\\chrome.exe", "C:\\Temp\\Chrome.EXE"
    monkeypatch.setattr("pointsman.cli.why.choose_processes", lambda: Running(real, other, "C:\\chrome.exe\\x.exe"))

    for name in ("chrome.exe", "CHROME"):
        result = run("why", name, "203.0.113.9", "--policy", places, "--json")
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        assert [(row["apps"], row["rule"]) for row in rows] == [([real], "the real one"), ([other], "default")]
    assert f"  app:     {other}" in run("why", "chrome.exe", "203.0.113.9", "--policy", places).stdout


def test_a_mere_name_that_does_not_run_is_a_program_somewhere(places: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.cli.why.choose_processes", Running)
    text = run("why", "chrome.exe", "203.0.113.9", "--policy", places).stdout

    assert text.startswith("inspect\n")
    assert "near:    line 1, the real one (relay): would match if it ran from C:\\Program Files\\Goo" in text
    assert "near:    line 6, any version (direct): would match if it ran from c:/apps/*/chrome.exe" in text
    assert "would match if" not in run("why", "chrome2.exe", "203.0.113.9", "--policy", places).stdout
    assert "would match if" not in run("why", "/x/chrome.exe", "203.0.113.9", "--policy", places).stdout


def test_a_question_that_makes_no_sense_ends_in_four_lines(policy: str) -> None:
    for question in (
        ("1.2.3",), ("192.0.2.1:99999",), ("example.com:0",), ("*.example.com",), ("a b",), ("",), ("http://a.b/",),
        ("192.0.2.1", "--at", "soon"), ("192.0.2.1", "--address", "192.0.2.2"), ("a.example", "--address", "b.example"),
        ("192.0.2.1", "--host", "*.a"),
    ):  # fmt: skip
        result = run("why", "curl", *question, "--policy", policy)
        assert isinstance(result.exception, PointsmanError)
        assert (result.exception.code, result.exception.status) == ("PM303", Exit.USAGE)


def test_check_reports_errors_and_findings(policy: str, tmp_path: Path) -> None:
    result = run("policy", "check", policy)
    assert result.exit_code == 0
    assert f'{policy}:6: "no ads" asks for a host' in result.stdout
    assert "4 rules, 1 finding" in result.stdout
    assert run("policy", "check", "--strict", policy).exit_code == Exit.FAILED
    assert json.loads(run("policy", "check", "--json", policy).stdout)["findings"][0]["code"] == "udp"

    broken = tmp_path / "broken.toml"
    broken.write_text('[[rule]]\naction = "blok"\n')
    result = run("policy", "check", str(broken))
    assert isinstance(result.exception, PointsmanError) and result.exception.status is Exit.POLICY


def test_the_built_in_policy_has_no_finding_and_can_be_printed(tmp_path: Path) -> None:
    assert run("policy", "check", "--strict").exit_code == 0
    copy = tmp_path / "copy.toml"
    copy.write_text(run("policy", "default").stdout)
    assert run("policy", "check", "--strict", str(copy)).exit_code == 0


def test_filters_are_shown_in_the_order_in_which_the_kernel_looks(policy: str) -> None:
    text = run("policy", "filters", policy, "--running", "/opt/mail-7/mail").stdout

    v4 = text[text.index("CONNECT_REDIRECT_V4") : text.index("AUTH_CONNECT_V6")].splitlines()
    assert v4[1].split() == ["REDIRECT", "line", "6", "protocol", "tcp", "(no", "ads:", "redirect)"]
    assert "app /opt/mail-7/mail, protocol tcp, port 25 or 465-587" in v4[2]
    assert "BLOCK    line 23    protocol udp, port 443" in text


def test_filters_show_what_is_to_fail_closed(tmp_path: Path) -> None:
    file = tmp_path / "closed.toml"
    file.write_text(
        'default = "direct"\n[[rule]]\nnet = "203.0.113.0/24"\nport = 443\naction = "direct"\n'
        '[[rule]]\nname = "all"\nport = 443\naction = "inspect"\non_failure = "closed"\n'
    )
    shown = run("policy", "filters", str(file)).stdout
    rows = shown[shown.index("persistent") :].splitlines()[1:]

    for layer, three in (("AUTH_CONNECT_V4", rows[:3]), ("AUTH_CONNECT_V6", rows[3:])):
        assert [row.split()[:2] for row in three] == [["PERMIT", layer], ["PERMIT", layer], ["BLOCK", layer]]
        assert ["no flag of" in row for row in three] == [False, False, True]
        assert "never redirected" in three[0]


CASES = """\
[[case]]
app = "/usr/bin/curl"
to = "203.0.113.9"
host = "www.ads.example"
expect = "block"
rule = "no ads"
by = "proxy"

[[case]]
app = "/usr/bin/curl"
to = "198.51.100.1"
at = "sun 09:00"
expect = "direct"
"""


def test_a_table_of_cases_is_held_against_the_policy(policy: str, tmp_path: Path) -> None:
    cases = tmp_path / "cases.toml"
    cases.write_text(CASES)

    result = run("policy", "test", policy, str(cases))
    assert result.exit_code == Exit.FAILED
    assert f"{cases}:9: expect: expected direct, got inspect (default, {policy})" in result.stdout
    assert result.stdout.endswith("2 cases, 1 failed\n")

    cases.write_text(CASES.replace("sun", "mon"))
    assert run("policy", "test", policy, str(cases)).exit_code == 0
    rows = [json.loads(line) for line in run("policy", "test", policy, str(cases), "--json").stdout.splitlines()]
    assert [row["ok"] for row in rows] == [True, True]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no [[case]]"),
        ("case = 1", "allowed: tables [[case]]"),
        ("[[case]", "not TOML"),
        (
            "[[case]]\napp = 1\nto = 'x'\nexpect = 'perhaps'\nfoo = 1\nnew = 2\nprotocol = 'icmp'\nparent = [1]",
            "2: app",
        ),
        ("[[case]]\n", "1: app: missing"),
    ],
)
def test_a_table_that_makes_no_sense_is_an_error_with_its_lines(
    policy: str, tmp_path: Path, text: str, error: str
) -> None:
    cases = tmp_path / "cases.toml"
    cases.write_text(text)

    result = run("policy", "test", policy, str(cases))

    assert isinstance(result.exception, PointsmanError)
    assert (result.exception.code, result.exception.status) == ("PM302", Exit.POLICY)
    assert error in result.exception.seen


def test_a_table_that_is_not_there_is_an_error(policy: str, tmp_path: Path) -> None:
    result = run("policy", "test", policy, str(tmp_path / "none"))
    assert isinstance(result.exception, PointsmanError) and result.exception.code == "PM302"


def test_the_schema_is_json(policy: str) -> None:
    schema = json.loads(run("policy", "schema").stdout)
    assert schema["properties"]["rule"]["items"]["required"] == ["action"]


CLOSED = """\
[[rule]]
name = "never without"
app = '/opt/app'
action = "inspect"
on_failure = "closed"
"""


def test_closed_rules_are_installed_listed_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = FakeSystem()
    monkeypatch.setattr("pointsman.cli.policy_closed.choose_system", lambda: system)
    file = tmp_path / "closed.toml"
    file.write_text(CLOSED)

    assert run("policy", "closed", "list").stdout == "none is installed\n"
    installed = run("policy", "closed", "install", str(file)).stdout
    assert "BLOCK   AUTH_CONNECT_V6  never without: closed\n" in installed
    assert installed.endswith("4 filters installed; they stay until `pointsman policy closed remove`\n")
    assert installed.startswith(run("policy", "closed", "list").stdout)

    file.write_text(CLOSED.replace("/opt/app", "app"))
    refused = run("policy", "closed", "install", str(file))
    assert isinstance(refused.exception, PointsmanError) and refused.exception.status is Exit.POLICY
    assert len(system.persistent_filters.filters) == 4
    assert run("policy", "closed", "remove").stdout == "4 filters removed\n"
    assert run("policy", "closed", "list").stdout == "none is installed\n"
