"""`pointsman lab` with programs that people use: each must simply work, and its flow must be seen."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pointsman.errors import Exit
from pointsman.lab.check import examine
from tests.fetch import FETCH

from .conftest import NAME, NAME_V6, Origin

FINDINGS = {finding.name: finding.allowed for finding in examine()}
pytestmark = pytest.mark.skipif(not FINDINGS["user notification"], reason="this kernel cannot trap connect()")

PIDFD_GETFD, SECCOMP = "438", "317"  # x86-64
REFUSE = [sys.executable, str(Path(__file__).with_name("refuse_call.py"))]
NODE = "fetch('{url}').then(r => r.text()).then(t => console.log(t))"
REQUESTS = "import requests; print(requests.get('{url}').text)"
AIOHTTP = """
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession() as session, session.get('{url}') as response:
        print(await response.text())
asyncio.run(main())
"""
CHROMIUM = [
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--ignore-certificate-errors", "--dump-dom",
]  # fmt: skip


def lab(
    origin: Origin, *command: str, options: list[str] | None = None, prefix: list[str] | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    pointsman = [sys.executable, "-P", "-m", "pointsman", "lab", *origin.options, *(options or [])]
    return subprocess.run(
        [*(prefix or []), *pointsman, "--", *command],
        capture_output=True, text=True, check=False, timeout=100, env={**os.environ, **(env or {})},
    )  # fmt: skip


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


PROGRAMS = {
    "curl or a stand-in": [*FETCH, "{url}"],
    "wget": ["wget", "-q", "-O-", "{url}"],
    "node": ["node", "-e", NODE],
    "python-requests": [sys.executable, "-c", REQUESTS],
    "python-aiohttp": [sys.executable, "-c", AIOHTTP],
    "chromium": [*CHROMIUM, "{url}"],
}


@pytest.mark.parametrize("placement", ["getfd", "addfd"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_simply_works_and_its_flow_is_seen(name: str, placement: str, origin: Origin, tmp_path: Path) -> None:
    command = [word.replace("{url}", origin.url) for word in PROGRAMS[name]]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    if placement == "getfd" and not FINDINGS["pidfd_getfd"]:
        pytest.skip("pidfd_getfd is refused here")
    flows = tmp_path / "flows"
    profile = [f"--user-data-dir={tmp_path / 'profile'}"] if name == "chromium" else []

    result = lab(origin, command[0], *profile, *command[1:], options=["--placement", placement, "--flows", str(flows)])

    assert result.returncode == 0, result.stderr
    assert "<p>served</p>" in result.stdout
    page = next(record for record in records(flows) if record["path"] == "/")
    assert (page["protocol"], page["method"], page["status"], page["host"]) == ("https", "GET", 200, NAME)
    assert (page["address"], page["port"], page["decision"], page["rule"]) == (
        "203.0.113.10",
        443,
        "inspect",
        "default",
    )
    assert page["bytes_up"] > 0
    assert page["bytes_down"] > 0
    assert page["duration_ms"] > 0
    assert Path(page["app"]).exists() or page["app"].lower() == page["app"]


def test_git_clones_over_https(origin: Origin, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    result = lab(origin, "git", "clone", "-q", f"{origin.url}repo.git", str(tmp_path / "clone"))

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "clone" / ".git").is_dir()
    assert "/repo.git/info/refs" in result.stderr


def test_ipv6_goes_through_the_proxy_too(origin: Origin) -> None:
    if not FINDINGS["IPv6 loopback"]:
        pytest.skip("no IPv6 loopback here")

    result = lab(origin, *FETCH, f"https://{NAME_V6}/")

    assert result.returncode == 0, result.stderr
    assert "<p>served</p>" in result.stdout
    assert f"https GET {NAME_V6}/" in result.stderr


def test_an_upstream_certificate_for_another_name_is_not_hidden(origin: Origin) -> None:
    result = lab(origin, *FETCH, "-k", "https://other.example/", options=["--resolve", "other.example=203.0.113.10"])

    assert result.returncode != 0
    assert "<p>served</p>" not in result.stdout
    assert "other.example" in result.stderr
    assert "certificate" in result.stderr.lower()


def test_an_excluded_program_sees_the_origins_own_certificate(origin: Origin, tmp_path: Path) -> None:
    policy = tmp_path / "rules.toml"
    policy.write_text(f'[[rule]]\nname = "mine"\napp = "{Path(sys.executable).resolve()}"\naction = "direct"\n')
    issuer = (
        "import socket, ssl; s = ssl.create_default_context().wrap_socket("
        f"socket.create_connection(('{NAME}', 443)), server_hostname='{NAME}');"
        "print(dict(p[0] for p in s.getpeercert()['issuer'])['organizationName'])"
    )

    direct = lab(origin, sys.executable, "-c", issuer, options=["--policy", str(policy)])
    inspected = lab(origin, sys.executable, "-c", issuer)

    assert direct.stdout.strip() == origin.issuer
    assert "direct (mine)" in direct.stderr
    assert inspected.stdout.strip() == "Pointsman"


def test_a_block_rule_gives_permission_denied(origin: Origin, tmp_path: Path) -> None:
    policy = tmp_path / "rules.toml"
    policy.write_text('[[rule]]\nname = "closed"\nnet = "203.0.113.0/24"\naction = "block"\n')

    result = lab(origin, *FETCH, "-v", origin.url, options=["--policy", str(policy)])

    assert result.returncode == 7
    assert "Permission denied" in result.stderr  # curl says why with -v, the stand-in always does
    assert "block (closed)" in result.stderr


def test_the_exit_status_is_the_programs_own(origin: Origin) -> None:
    assert lab(origin, "sh", "-c", "exit 42").returncode == 42
    assert lab(origin, "sh", "-c", "kill -TERM $$").returncode == 128 + 15


def test_options_after_the_command_are_the_commands(origin: Origin) -> None:
    result = lab(origin, "sh", "-c", 'echo "$@"', "x", "--policy", "--check")

    assert result.stdout.strip() == "--policy --check"


def test_standard_input_reaches_the_program(origin: Origin) -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-m", "pointsman", "lab", "--", "cat"],
        input="through", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert result.stdout == "through"


def test_it_works_as_an_ordinary_user(origin: Origin, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("this is an ordinary user already: every other test shows it")
    if not all(
        path.stat().st_mode & 1 for path in (Path(sys.executable).resolve(), *Path(sys.executable).resolve().parents)
    ):
        pytest.skip("the interpreter lies where other users cannot reach it")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]

    result = lab(origin, *FETCH, origin.url, prefix=nobody, env={"HOME": "/nonexistent"})

    assert result.returncode == 0, result.stderr
    assert "inspect (default)" in result.stderr


def test_it_works_where_pidfd_getfd_is_refused_as_in_a_default_container(origin: Origin) -> None:
    """A filter around the whole lab answers EPERM to pidfd_getfd, as the default profile of containers does."""
    result = lab(origin, *FETCH, origin.url, prefix=[*REFUSE, PIDFD_GETFD])
    check = subprocess.run(
        [*REFUSE, PIDFD_GETFD, sys.executable, "-P", "-m", "pointsman", "lab", "--check"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert "<p>served</p>" in result.stdout
    assert "inspect (default)" in result.stderr
    assert check.returncode == 0
    assert [line.split()[0] for line in check.stdout.splitlines() if "pidfd_getfd " in line[:20]] == ["no"]


def test_a_kernel_that_forbids_seccomp_gets_a_clear_message(origin: Origin) -> None:
    result = lab(origin, "true", prefix=[*REFUSE, SECCOMP])

    assert result.returncode == Exit.NO_USER_NOTIFICATION
    assert "[PM504]" in result.stderr
    assert "pointsman lab --check" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_proxy_in_the_lab_says_when_its_port_is_taken(origin: Origin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        result = lab(origin, sys.executable, "-P", "-m", "pointsman", "run", "--port", port)

    assert result.returncode == Exit.PORT_TAKEN
    assert "[PM401]" in result.stderr
    assert port in result.stderr


def test_a_proxy_that_dies_is_reported_and_costs_nobody_the_network(origin: Origin, tmp_path: Path) -> None:
    script = tmp_path / "killer.py"
    script.write_text(KILL_THE_PROXY)

    result = lab(origin, sys.executable, str(script), *FETCH, origin.url)

    assert result.returncode == 0, result.stderr
    assert "<p>served</p>" in result.stdout
    assert "[PM510]" in result.stderr
    assert "inspect (default)" not in result.stderr


KILL_THE_PROXY = """
import os, select, signal, subprocess, sys
children = open(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read().split()
proxy = next(int(pid) for pid in children if b"--json" in open(f"/proc/{pid}/cmdline", "rb").read())
pidfd = os.pidfd_open(proxy)
os.kill(proxy, signal.SIGKILL)
select.select([pidfd], [], [])
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""


def test_the_secrets_of_both_sides_are_written_where_somebody_asks_for_them(origin: Origin, tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    result = lab(origin, *FETCH, origin.url, options=["--key-log", str(log)])

    assert result.returncode == 0, result.stderr
    randoms = {line.split()[1] for line in log.read_text().splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")}
    assert len(randoms) >= 2 and log.stat().st_mode & 0o777 == 0o600


def test_a_key_log_that_cannot_be_written_says_so(origin: Origin, tmp_path: Path) -> None:
    result = lab(origin, *FETCH, origin.url, options=["--key-log", str(tmp_path)])

    assert result.returncode != 0
    assert "cannot write the key log" in result.stderr and "PM456" in result.stderr
