"""Bad input on the command line: four lines, its own exit status, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.errors import Exit

CODE = r"pointsman: .+  \[PM\d{3}\]"


def pointsman(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "pointsman", *arguments],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **(env or {})},
    )  # fmt: skip


def assert_four_lines(result: subprocess.CompletedProcess[str], status: Exit, code: str) -> None:
    lines = result.stderr.splitlines()
    assert result.returncode == status, result.stderr
    assert lines[0].startswith("pointsman: ") and lines[0].endswith(f"  [{code}]")
    assert [line.split(":")[0].strip() for line in lines if line.startswith("  ") and ":" in line[:10]] == [
        "seen", "effect", "do",
    ]  # fmt: skip
    assert "Traceback" not in result.stderr


def test_a_command_that_is_not_there() -> None:
    assert_four_lines(pointsman("lab", "--", "no-such-program-here"), Exit.NOT_FOUND, "PM501")


def test_a_command_that_cannot_be_executed(tmp_path: Path) -> None:
    file = tmp_path / "not-executable"
    file.write_text("x")

    assert_four_lines(pointsman("lab", "--", str(file)), Exit.NOT_EXECUTABLE, "PM502")


def test_a_policy_with_an_unknown_key_names_file_line_and_key(tmp_path: Path) -> None:
    policy = tmp_path / "rules.toml"
    policy.write_text('default = "inspect"\n\n[[rule]]\naction = "block"\nprot = 443\n')

    result = pointsman("lab", "--policy", str(policy), "--", "true")

    assert_four_lines(result, Exit.POLICY, "PM301")
    assert "rules.toml:5" in result.stderr
    assert "prot" in result.stderr


def test_all_errors_of_a_policy_come_at_once(tmp_path: Path) -> None:
    policy = tmp_path / "rules.toml"
    policy.write_text('default = "maybe"\n[[rule]]\naction = "blok"\nnet = "203.0.113.0/33"\nport = 70000\n')

    result = pointsman("lab", "--policy", str(policy), "--", "true")

    assert_four_lines(result, Exit.POLICY, "PM301")
    for found in ("maybe", "blok", "203.0.113.0/33", "70000"):
        assert found in result.stderr


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[[rule]", b"x" * 5_000_000], ids=["empty", "binary", "cut", "huge"]
)
def test_an_odd_policy_file_never_gives_a_traceback(tmp_path: Path, content: bytes) -> None:
    policy = tmp_path / "rules.toml"
    policy.write_bytes(content)

    result = pointsman("lab", "--policy", str(policy), "--", "true")

    assert "Traceback" not in result.stderr
    if content:
        assert_four_lines(result, Exit.POLICY, "PM301")


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    assert_four_lines(pointsman("lab", "--policy", str(tmp_path / "none"), "--", "true"), Exit.POLICY, "PM301")


@pytest.mark.parametrize(
    "option", [("--map", "203.0.113.10"), ("--map", "a:b=c:d"), ("--resolve", "x"), ("--resolve", "x=y")]
)
def test_a_lab_network_that_makes_no_sense(option: tuple[str, str]) -> None:
    assert_four_lines(pointsman("lab", *option, "--", "true"), Exit.USAGE, "PM503")


def test_a_ca_file_that_is_not_there(tmp_path: Path) -> None:
    result = pointsman("lab", "--upstream-ca", str(tmp_path / "none.pem"), "--", "true")

    assert_four_lines(result, Exit.BAD_FILE, "PM508")


def test_a_flow_file_that_cannot_be_written(tmp_path: Path) -> None:
    result = pointsman("lab", "--flows", str(tmp_path / "no" / "flows"), "--", "true")

    assert_four_lines(result, Exit.BAD_FILE, "PM453")


def test_run_without_a_driver() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "POINTSMAN_LAB"}
    result = subprocess.run(
        [sys.executable, "-P", "-m", "pointsman", "run"],
        capture_output=True, text=True, check=False, timeout=60, env=environment,
    )  # fmt: skip

    assert_four_lines(result, Exit.DRIVER_MISSING, "PM701")


def test_lab_without_a_command_is_a_usage_error() -> None:
    result = pointsman("lab")

    assert result.returncode == Exit.USAGE
    assert "pointsman lab -- COMMAND" in result.stderr


def test_the_version_and_the_help_are_there() -> None:
    assert pointsman("--version").stdout.startswith("pointsman, version ")
    for command in ("lab", "demo", "run"):
        result = pointsman(command, "--help")
        assert result.returncode == 0
        assert "Exit status" in result.stdout
