"""The commands that manage a Windows machine: on Linux they say so; their answers to programs are on a double."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pointsman.cli.doctor import summary
from pointsman.cli.main import cli
from pointsman.doctor.checks import CANARIES, bfe
from pointsman.doctor.examination import Check
from pointsman.doctor.examination import Result as Result_
from pointsman.doctor.finding import Finding, Outcome
from pointsman.errors import Exit, PointsmanError
from pointsman.system.services import DriverService
from pointsman.testing.host import FakeHost
from pointsman.testing.system import FakeSystem

from .test_messages import assert_four_lines, pointsman

COMMANDS = [
    ["driver", "install"], ["driver", "upgrade"], ["driver", "start"], ["driver", "stop"], ["driver", "uninstall"],
    ["driver", "status"], ["service", "install"], ["service", "start"], ["service", "stop"], ["service", "uninstall"],
    ["service", "status"], ["uninstall", "--yes"],
]  # fmt: skip


@pytest.mark.parametrize("command", [COMMANDS[0], COMMANDS[6], COMMANDS[11]], ids=" ".join)
def test_on_linux_they_say_where_they_belong(command: list[str]) -> None:
    assert_four_lines(pointsman(*command), Exit.DRIVER_MISSING, "PM213")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_one_of_them_does(command: list[str]) -> None:
    result = CliRunner().invoke(cli, command)

    assert isinstance(result.exception, PointsmanError) and result.exception.code == "PM213"


def test_the_doctor_without_a_driver_fails_and_says_so() -> None:
    result = pointsman("doctor", "--json", env={"POINTSMAN_LAB": ""})

    checks = {check["id"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.returncode == Exit.FAILED
    assert checks["D10"]["outcome"] == "fail" and "go direct" in checks["D10"]["effect"]
    assert checks["R5"]["outcome"] == "skipped"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    host, system = FakeHost(tmp_path), FakeSystem()
    for module in ("driver", "service", "uninstall"):
        monkeypatch.setattr(f"pointsman.cli.{module}.choose_host", lambda: host)
    for module in ("driver", "uninstall"):
        monkeypatch.setattr(f"pointsman.cli.{module}.choose_system", lambda: system)
    return host


def call(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(cli, list(arguments), input=text)


def test_uninstall_asks_first_and_names_what_it_would_remove(host: FakeHost) -> None:
    host.service_manager.install(DriverService("pointsman", "C:\\p.sys", "x"))

    refused = call("uninstall", text="n\n")

    assert "there   service pointsman (driver)" in refused.output
    assert "pointsman" in host.service_manager.entries
    assert call("uninstall", text="y\n").exit_code in (Exit.OK, Exit.FAILED)
    assert "pointsman" not in host.service_manager.entries


def test_service_status_tells_programs_by_its_exit_status(host: FakeHost) -> None:
    assert call("service", "status", "--json").exit_code == 1
    assert call("service", "install").exit_code == 0
    assert call("service", "start").exit_code == 0

    result = call("service", "status", "--json")

    assert (result.exit_code, json.loads(result.output)["state"]) == (0, "running")


def test_a_policy_with_an_error_is_refused_at_the_installation(host: FakeHost, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("default = 7\n")

    result = call("service", "install", "--policy", str(tmp_path / "rules.toml"))

    assert isinstance(result.exception, PointsmanError) and result.exception.status == Exit.POLICY
    assert not host.service_manager.entries


def found(outcome: Outcome, check: Check, effect: str = "") -> Result_:
    return Result_(check, Finding(outcome, "seen", effect, "do"))


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([found(Outcome.OK, CANARIES[0]), found(Outcome.SKIPPED, CANARIES[1])], "interception works"),
        ([found(Outcome.WARN, CANARIES[0]), found(Outcome.OK, CANARIES[1])], "a canary was not intercepted"),
        ([found(Outcome.OK, CANARIES[2])], "no canary was sent"),
        ([found(Outcome.FAIL, bfe.CHECK, "direct"), found(Outcome.FAIL, CANARIES[0], "x")],
         "begin with W1 (Base Filtering Engine): direct"),
    ],
)  # fmt: skip
def test_doctor_ends_with_what_it_comes_to_for_traffic(results: list[Result_], said: str) -> None:
    assert said in summary(results).splitlines()[-1]
