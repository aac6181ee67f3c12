"""`status`, `pause`, `resume`, `events` and `learned`: against a running proxy, a dead one, a hung one, and nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec.structs import replace

from pointsman.cli.pause import parse_time
from pointsman.control.flow_log import json_line
from pointsman.errors import Exit
from pointsman.lab.check import examine
from tests.control.test_flow_log import RECORD
from tests.fetch import FETCH

from .conftest import Origin
from .test_lab_command import lab

POINTSMAN = [sys.executable, "-P", "-m", "pointsman"]
in_the_lab = pytest.mark.skipif(
    not {finding.name: finding.allowed for finding in examine()}["user notification"],
    reason="this kernel cannot trap connect()",
)
SCRIPT = """
import json, os, signal, subprocess, sys
told = []
def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    told.append([done.returncode, done.stdout, done.stderr])
    return done
def pointsman(*arguments):
    return run(sys.executable, "-P", "-m", "pointsman", *arguments)
fetch = sys.argv[1:]
{body}
print(json.dumps(told))
"""


def session(origin: Origin, body: str) -> list[tuple[int, str, str]]:
    """Run the body in a lab.  Returns what each of its commands came to: status, output, errors."""
    script = SCRIPT.replace("{body}", body)
    done = lab(origin, sys.executable, "-c", script, *FETCH, origin.url)
    assert done.returncode == 0, done.stderr
    return [(status, out, err) for status, out, err in json.loads(done.stdout.splitlines()[-1])]


@in_the_lab
def test_a_pause_makes_traffic_direct_and_visible_and_a_resume_ends_it(origin: Origin) -> None:
    told = session(
        origin,
        "pointsman('status', '--json'); pointsman('pause', '10m'); run(*fetch); pointsman('status', '--json')\n"
        "pointsman('status'); pointsman('resume'); run(*fetch); pointsman('status', '--json')\n"
        "pointsman('pause', '25h'); pointsman('events', '--json')\n"
        "pointsman('events', '--last', '2'); pointsman('learned', 'list')\n"
        "pointsman('learned', 'remove', 'a.example')",
    )
    before, paused, direct, during, people, resumed, inspected, after, refused, events, last, learned, removed = told
    first, second, third = (json.loads(one[1]) for one in (before, during, after))

    assert (before[0], during[0], after[0]) == (Exit.OK, Exit.FAILED, Exit.OK)
    assert (first["intercepting"], second["intercepting"], third["intercepting"]) == (True, False, True)
    assert first["driver"]["active_registration"] == first["proxies"][0]["registration"]
    assert first["driver"]["registrations"][0]["is_active"]
    assert "10 min" in paused[1] and "paused for another" in people[1]
    assert direct[1] == inspected[1] != ""
    assert second["proxies"][0]["connections"]["accepted"] == first["proxies"][0]["connections"]["accepted"]
    assert third["proxies"][0]["connections"]["accepted"] == first["proxies"][0]["connections"]["accepted"] + 1
    assert third["driver"]["counters"]["redirected"] == 1
    assert resumed[:2] == (0, "resumed: the policy acts again\n")
    assert refused[0] == Exit.FAILED and "PM463" in refused[2]
    kinds = [json.loads(line)["kind"] for line in events[1].splitlines()]
    assert {"registered", "process_started", "flow"} <= set(kinds)
    assert len(last[1].splitlines()) == 2
    assert (learned[:2], removed[:2]) == ((0, ""), (0, "0 forgotten\n"))


@in_the_lab
def test_flows_of_a_running_proxy_are_shown_and_sifted(origin: Origin, tmp_path: Path) -> None:
    told = session(
        origin,
        "run(*fetch); run(*fetch)\n"
        "pointsman('flows', '--json'); pointsman('flows', '--last', '1'); pointsman('flows', '--host', 'no.example')\n"
        "pointsman('flows', '--app', 'nobody'); pointsman('flows', '--host', 'example', '--json')",
    )
    every, last, other, nobody, below = (one[1].splitlines() for one in told[2:])

    assert [json.loads(line)["host"] for line in every] == ["www.example"] * 2
    assert len(last) == 1 and "www.example" in last[0] and "inspect" in last[0]
    assert other == nobody == []
    assert below == every


@in_the_lab
def test_why_says_that_a_running_proxy_is_paused(origin: Origin) -> None:
    told = session(
        origin, "pointsman('why', 'curl', '203.0.113.10'); pointsman('pause', '10m')\n"
        "pointsman('why', 'curl', '203.0.113.10'); pointsman('why', 'curl', '203.0.113.10', '--json')",
    )  # fmt: skip
    before, _, paused, programs = told

    assert "paused" not in before[1] + before[2]
    assert "paused for another" in paused[2] and paused[1] == before[1]
    assert "paused" not in programs[1] and "paused" in programs[2]


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [(["flows"], Exit.DRIVER_MISSING, "PM701"), (["flows", "--file", "/nowhere"], Exit.BAD_FILE, "PM464")],
)
def test_flows_of_nobody_are_an_error_for_people(arguments: list[str], status: int, code: str) -> None:
    done = subprocess.run([*POINTSMAN, *arguments], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (status, "")
    assert code in done.stderr


def test_a_flow_file_is_shown_and_followed(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    path.write_bytes(json_line(RECORD))
    following = subprocess.Popen(
        [*POINTSMAN, "flows", "--file", str(path), "--follow", "--json"], stdout=subprocess.PIPE, text=True
    )
    assert following.stdout is not None
    try:
        assert json.loads(following.stdout.readline())["flow"] == 1
        with path.open("ab") as file:
            file.write(json_line(replace(RECORD, flow=2)))
        assert json.loads(following.stdout.readline())["flow"] == 2
    finally:
        following.kill()
        following.wait()
        following.stdout.close()


@in_the_lab
def test_a_hung_and_then_a_dead_proxy_are_told_apart(origin: Origin) -> None:
    told = session(
        origin,
        "pid = json.loads(pointsman('status', '--json').stdout)['active_pid']\n"
        "os.kill(pid, signal.SIGSTOP); pointsman('status', '--json'); os.kill(pid, signal.SIGKILL)\n"
        "pointsman('status', '--json'); pointsman('pause')",
    )
    hung, dead = (json.loads(one[1]) for one in told[1:3])

    assert [one[0] for one in told] == [Exit.OK, Exit.FAILED, Exit.FAILED, Exit.NO_PROXY]
    assert "does not answer" in hung["proxies"][0]["error"]
    assert (dead["proxies"], dead["driver"]["registrations"], dead["intercepting"]) == ([], [], False)
    assert "PM462" in told[3][2]


def outside(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "POINTSMAN_LAB"}
    return subprocess.run(
        [*POINTSMAN, *arguments], capture_output=True, text=True, check=False, timeout=60, env=environment
    )


@pytest.mark.parametrize("command", [["status"], ["pause"], ["resume"], ["events"]])
def test_without_a_driver_each_says_so(command: list[str], tmp_path: Path) -> None:
    options = ["--state", str(tmp_path)] if command == ["events"] else []
    done = outside(*command, *options)

    assert done.returncode == Exit.DRIVER_MISSING
    assert "PM701" in done.stderr


def test_what_is_on_disk_is_shown_and_changed_without_a_driver_or_a_proxy(tmp_path: Path) -> None:
    (tmp_path / "kernel-events.jsonl").write_text('{"sequence":7,"lost":3}\n')
    now = time.time()
    entries: list[dict[str, Any]] = [
        {"app": "/bin/a", "host": host, "reason": "unknown_ca", "since": now, "until": now + 7230}
        for host in ("one.example", "two.example")
    ]
    (tmp_path / "learned.json").write_text(json.dumps(entries))
    events = outside("events", "--state", str(tmp_path))
    before = outside("learned", "list", "--ca", str(tmp_path))
    removed = outside("learned", "remove", "ONE.example", "--ca", str(tmp_path))
    after = outside("learned", "list", "--ca", str(tmp_path), "--json")

    assert (events.returncode, "3 events" in events.stdout) == (0, True)
    assert "two.example  /bin/a  unknown_ca  (2 h 0 min)" in before.stdout
    assert removed.stdout == "1 forgotten\n"
    assert [json.loads(line)["host"] for line in after.stdout.splitlines()] == ["two.example"]


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("90s", 90), ("1.5m", 90), ("10 min", 600), ("2H", 7200)])
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "5d", "1e3", "5 m m"])
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_time(text)


def test_a_take_over_needs_the_driver() -> None:
    done = outside("run", "--takeover", "--source", "netfilter")

    assert done.returncode == Exit.USAGE and "--takeover needs the driver" in done.stderr
