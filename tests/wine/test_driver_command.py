"""`pointsman driver`, run by the Windows Python against Wine's service manager: whole ways, repeats, half states."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman.errors import Exit
from pointsman.system.windows.service_manager import DriverService
from tests.services_contract import EXPECTED, driver_service_cases

from .machine import DRIVER, Machine, Process, RemoteError, windows_path

pytestmark = pytest.mark.timeout(900)
FILES = "drive_c/Program Files/Pointsman"


@pytest.fixture
def prefix_files(machine: Machine, service: DriverService) -> Iterator[Path]:
    """Where the driver's versions lie; empty before and after."""
    folder = machine.prefix / FILES
    shutil.rmtree(folder, ignore_errors=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def image(machine: Machine) -> str:
    return windows_path(machine.prefix / "drive_c/windows/system32/drivers/pointsman.sys")


def done(machine: Machine, *arguments: str, status: int = Exit.OK) -> Any:
    result = machine.command("driver", *arguments, "--json")
    assert result.returncode == status, result.stderr + result.stdout
    return json.loads(result.stdout)


def changes(report: Any) -> list[str]:
    return [step["name"] for step in report["steps"] if step["changed"]]


def failed(machine: Machine, *arguments: str, status: int, code: str) -> str:
    result = machine.command("driver", *arguments)
    assert (result.returncode, f"[{code}]" in result.stderr) == (status, True), result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("  ")]) >= 3
    return result.stderr


def test_the_whole_way_twice(machine: Machine, prefix_files: Path, image: str) -> None:
    assert changes(done(machine, "install", "--file", image)) == ["file", "service"]
    assert changes(done(machine, "install", "--file", image)) == []
    assert changes(done(machine, "start")) == ["start"]
    assert changes(done(machine, "start")) == []

    state = done(machine, "status")
    assert state["summary"] == "runs"
    assert (state["loaded"]["abi"], state["loaded"]["version"]) == (1, state["file"]["version"])
    assert state["file"]["machine"] == "x64"
    assert machine.books().objects == 6

    assert changes(done(machine, "stop")) == ["stop"]
    assert changes(done(machine, "stop")) == []
    assert machine.books().objects == 0
    assert changes(done(machine, "uninstall")) == ["service", "file"]
    assert changes(done(machine, "uninstall")) == []
    assert done(machine, "status")["summary"] == "not installed"
    assert not list(prefix_files.rglob("*.sys"))


def test_people_are_told_what_windows_will_say_of_the_signature(
    machine: Machine, prefix_files: Path, image: str
) -> None:
    result = machine.pointsman("driver", "install", "--file", image)

    assert result.returncode == 0
    # Nobody has signed the image of this build, and Wine's WinVerifyTrust says so.
    assert "not signed: this Windows will NOT load it" in result.stdout
    assert "do: install a signed release" in result.stdout
    assert "+ service: created, started on demand" in result.stdout


def test_a_running_driver_is_uninstalled_in_one_go(machine: Machine, prefix_files: Path, image: str) -> None:
    done(machine, "install", "--file", image)
    done(machine, "start")

    assert changes(done(machine, "uninstall")) == ["stop", "service", "file"]
    assert machine.books().objects == 0


def test_a_service_without_its_file_is_repaired_by_installing_again(
    machine: Machine, prefix_files: Path, image: str
) -> None:
    done(machine, "install", "--file", image)
    shutil.rmtree(prefix_files)

    assert done(machine, "status")["summary"] == "installed, but its file is gone or unusable"
    assert "driver file cannot be loaded" in failed(machine, "start", status=Exit.DRIVER_MISSING, code="PM205")
    assert changes(done(machine, "install", "--file", image)) == ["file"]
    assert changes(done(machine, "start")) == ["start"]


def test_a_file_without_its_service_is_repaired_by_installing_again(
    machine: Machine, prefix_files: Path, image: str
) -> None:
    done(machine, "install", "--file", image)
    machine.operator.call("delete", DRIVER)

    assert "pointsman driver install" in failed(machine, "start", status=Exit.DRIVER_MISSING, code="PM205")
    assert changes(done(machine, "install", "--file", image)) == ["service"]


def test_a_file_without_its_service_goes_with_the_uninstallation(
    machine: Machine, prefix_files: Path, image: str
) -> None:
    done(machine, "install", "--file", image)
    machine.operator.call("delete", DRIVER)

    assert changes(done(machine, "uninstall")) == ["file"]
    assert not list(prefix_files.rglob("*.sys"))


def test_a_service_marked_for_deletion_says_who_holds_it(machine: Machine, prefix_files: Path, image: str) -> None:
    done(machine, "install", "--file", image)
    holder = machine.process(new=True)
    holder.call("hold_service", DRIVER)
    machine.operator.call("delete", DRIVER)

    text = failed(machine, "install", "--file", image, status=Exit.DRIVER_MISSING, code="PM205")
    assert "Windows error 1072: the service is marked for deletion" in text
    assert "services.msc" in text
    report = done(machine, "uninstall", status=Exit.RESTART_NEEDED)
    assert "services.msc" in report["restart_needed"]

    holder.end()
    assert changes(done(machine, "install", "--file", image)) == ["file", "service"]


def test_a_registered_proxy_keeps_its_driver(machine: Machine, prefix_files: Path, image: str) -> None:
    done(machine, "install", "--file", image)
    done(machine, "start")
    proxy = machine.process(new=True)
    proxy.call("open")
    proxy.call("register", endpoints(), 60_000)

    text = failed(machine, "stop", status=Exit.FAILED, code="PM216")
    assert f"registered: process {proxy.pid}" in text
    failed(machine, "uninstall", status=Exit.FAILED, code="PM216")
    assert done(machine, "status")["loaded"]["proxies"] == [proxy.pid]

    proxy.call("close")
    assert changes(done(machine, "stop")) == ["stop"]


def test_another_version_is_staged_while_one_runs(
    machine: Machine, prefix_files: Path, image: str, tmp_path: Path
) -> None:
    done(machine, "install", "--file", image)
    done(machine, "start")
    data = bytearray((machine.prefix / "drive_c/windows/system32/drivers/pointsman.sys").read_bytes())
    data += bytes(512)  # still the same program, and another file
    (tmp_path / "pointsman.sys").write_bytes(data)
    other = windows_path(tmp_path / "pointsman.sys")

    assert "pointsman driver upgrade" in failed(
        machine, "install", "--file", other, status=Exit.DRIVER_VERSION, code="PM215"
    )
    report = done(machine, "upgrade", "--file", other, status=Exit.RESTART_NEEDED)
    assert changes(report) == ["file", "service"]
    assert "loaded" in report["restart_needed"]
    assert machine.books().objects == 6  # the old one goes on
    assert len(list(prefix_files.rglob("*.sys"))) == 2

    done(machine, "stop")
    assert changes(done(machine, "upgrade", "--file", other)) == ["old file"]
    assert changes(done(machine, "start")) == ["start"]


def test_a_file_that_is_no_driver_changes_nothing(machine: Machine, prefix_files: Path, tmp_path: Path) -> None:
    (tmp_path / "pointsman.sys").write_bytes(b"MZ is not enough")

    text = failed(
        machine, "install", "--file", windows_path(tmp_path / "pointsman.sys"), status=Exit.BAD_FILE, code="PM211"
    )

    assert "cut off or damaged" in text
    assert done(machine, "status")["summary"] == "not installed"


def test_the_service_manager_does_what_its_double_does(machine: Machine, service: DriverService) -> None:
    operator: Process = machine.operator

    def call(method: str, *arguments: object) -> object:
        try:
            return operator.call(method, *arguments)
        except RemoteError as error:
            return f"error {error.facts['windows_code']}"

    def state_of(name: str) -> str | None:
        status = operator.call("query", name)
        return None if status is None else str(status.state.name)

    assert driver_service_cases(call, service, state_of) == EXPECTED


def endpoints() -> object:
    from ipaddress import IPv4Address

    from pointsman.wire.abi import Endpoints

    return Endpoints(v4=(IPv4Address("127.0.0.1"), 4433))
