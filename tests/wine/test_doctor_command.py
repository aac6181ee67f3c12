"""`pointsman doctor` and `pointsman uninstall` by the Windows Python: what they say of a machine that Wine plays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman.errors import Exit
from pointsman.system.windows.service_manager import DriverService

from .machine import DRIVER, Machine, windows_path

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def installed(machine: Machine, service: DriverService) -> Iterator[Path]:
    """Installed by the product's own command, and not started.  Drive C."""
    drive = machine.prefix / "drive_c"
    image = windows_path(drive / "windows/system32/drivers/pointsman.sys")
    assert machine.command("driver", "install", "--file", image).returncode == 0
    yield drive
    machine.command("uninstall", "--yes")
    for name in ("Program Files", "ProgramData"):
        shutil.rmtree(drive / name / "Pointsman", ignore_errors=True)


def examined(machine: Machine, *arguments: str, status: int) -> dict[str, dict[str, str]]:
    result = machine.command("doctor", "--json", *arguments)
    assert result.returncode == status, result.stderr + result.stdout
    return {check["id"]: check for check in json.loads(result.stdout)["checks"]}


def outcomes(checks: dict[str, dict[str, str]], *ids: str) -> list[str]:
    return [checks[id_]["outcome"] for id_ in ids]


def test_a_machine_without_a_driver(machine: Machine, service: DriverService) -> None:
    checks = examined(machine, status=Exit.FAILED)

    assert outcomes(checks, "D5", "D10", "W1") == ["fail"] * 3  # Wine has no BFE
    assert checks["D5"]["do"] == "pointsman driver install"
    assert "go direct" in checks["D10"]["effect"]
    assert outcomes(checks, "D1", "D7", "D11", "R1", "R5") == ["skipped"] * 5
    assert outcomes(checks, "P3", "S3", "W2", "W7", "N2") == ["ok"] * 5
    assert checks["P1"]["seen"] == "Windows 6.1 build 7601, client; the driver needs build 17763"  # what Wine plays
    assert not [check for check in checks.values() if "broke" in check["seen"]]


def test_a_driver_that_runs_without_a_proxy(machine: Machine, installed: Path) -> None:
    assert machine.command("driver", "start").returncode == 0

    checks = examined(machine, status=Exit.FAILED)

    assert outcomes(checks, "P2", "D1", "D2", "D4", "D5", "D6", "D7", "D9", "D10", "D11", "D12") == ["ok"] * 11
    assert checks["D9"]["seen"] == r"\\.\Pointsman is \Device\Pointsman"
    assert outcomes(checks, "D3") == ["warn"]  # not signed, and loaded all the same: Wine checks nothing
    assert (checks["R1"]["outcome"], checks["R1"]["seen"]) == ("fail", "no proxy is registered")
    assert not [check for check in checks.values() if "broke" in check["seen"]]


def test_a_proxy_that_is_registered_owns_its_ports(machine: Machine, installed: Path, tmp_path: Path) -> None:
    assert machine.command("service", "install", "--force").returncode == 0
    assert machine.command("service", "start").returncode == 0

    # No canary: Wine's sockets do not pass the simulated WFP, and would go out to the network.
    checks = examined(machine, "--no-canary", status=Exit.FAILED)

    assert outcomes(checks, "R1", "R2", "L1", "L3") == ["ok"] * 4, checks
    assert "does not say who" in checks["R4"]["seen"]  # Wine's table has the port, and 0 for its owner
    assert not [check for check in checks.values() if "broke" in check["seen"]]


def test_a_changed_driver_file_is_noticed(machine: Machine, installed: Path) -> None:
    (file,) = (installed / "Program Files/Pointsman").rglob("pointsman.sys")
    file.write_bytes(file.read_bytes() + bytes(8))

    assert examined(machine, status=Exit.FAILED)["D2"]["outcome"] == "fail"


def test_uninstall_leaves_nothing_and_says_so(machine: Machine, installed: Path) -> None:
    assert machine.command("service", "install", "--force").returncode == 0
    assert machine.command("service", "start").returncode == 0

    told = uninstalled(machine)

    assert [name for name, there in told["before"].items() if there][:3] == [
        "service PointsmanProxy", "service pointsman (driver)", "driver's files",
    ]  # fmt: skip
    assert told["before"]["driver's device"] is True
    assert not any(told["after"].values()), told["after"]
    assert not (installed / "Program Files/Pointsman").exists()
    assert not (installed / "ProgramData/Pointsman").exists()
    assert machine.books().objects == 0
    assert machine.operator.call("query", DRIVER) is None
    assert uninstalled(machine)["changed"] is False


def test_uninstall_of_a_half(machine: Machine, installed: Path) -> None:
    machine.operator.call("delete", DRIVER)
    (installed / "ProgramData/Pointsman/ca").mkdir(parents=True)
    (installed / "ProgramData/Pointsman/ca/root-key.pem").write_text("key")

    result = machine.command("uninstall", "--yes", "--keep-ca", "--json")
    assert result.returncode == 0, result.stderr + result.stdout
    assert (installed / "ProgramData/Pointsman/ca/root-key.pem").exists()
    assert not (installed / "Program Files/Pointsman").exists()

    told = uninstalled(machine)
    assert not any(told["after"].values())
    assert not (installed / "ProgramData/Pointsman").exists()


def uninstalled(machine: Machine) -> Any:
    result = machine.command("uninstall", "--yes", "--json")
    assert result.returncode == 0, result.stderr + result.stdout
    return json.loads(result.stdout)


def test_windows_own_rules_refuse_a_root_that_is_not_installed(machine: Machine, tmp_path: Path) -> None:
    directory = windows_path(tmp_path / "ca")

    def judged() -> dict[str, str]:
        checks = examined(machine, "--no-canary", "--ca", directory, status=Exit.FAILED)
        assert outcomes(checks, "S7", "S8", "L2", "W5", "W6", "W9") == ["skipped"] * 6  # Wine has neither logs nor WFP
        return checks["T3"]

    assert judged()["outcome"] == "skipped"
    assert machine.command("ca", "create", "--ca", directory).returncode == 0
    before = judged()
    assert (before["outcome"], before["do"]) == ("warn", "pointsman ca install"), before
