"""`pointsman service` by Wine's service manager: the proxy runs in a process that the manager has started."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman.errors import Exit
from pointsman.system.windows.service_manager import DriverService

from .machine import ANSWER, Machine, windows_path

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def folders(machine: Machine, driver: DriverService) -> Iterator[Path]:
    """The driver runs; whatever the test leaves of the service is gone afterwards."""
    yield machine.prefix / "drive_c"
    machine.command("service", "uninstall")
    for name in ("Program Files", "ProgramData"):
        shutil.rmtree(machine.prefix / "drive_c" / name / "Pointsman", ignore_errors=True)


def done(machine: Machine, *arguments: str, status: int = Exit.OK) -> Any:
    result = machine.command("service", *arguments, "--json")
    assert result.returncode == status, result.stderr + result.stdout
    return json.loads(result.stdout)


def changes(report: Any) -> list[str]:
    return [step["name"] for step in report["steps"] if step["changed"]]


def said(folders: Path) -> str:
    log = folders / "ProgramData/Pointsman/service.log"
    return log.read_text() if log.exists() else "no log"


def test_the_proxy_runs_as_a_service(machine: Machine, folders: Path, tmp_path: Path) -> None:
    policy = tmp_path / "rules.toml"
    policy.write_text('default = "relay"\n')
    watcher = machine.process()
    watcher.call("open")

    assert changes(done(machine, "install", "--force", "--policy", windows_path(policy))) == [
        "program",
        "settings",
        "service",
    ]
    assert changes(done(machine, "install", "--force", "--policy", windows_path(policy))) == []
    assert done(machine, "status", status=Exit.FAILED)["state"] == "stopped"
    assert changes(done(machine, "start")) == ["service"], said(folders)
    assert changes(done(machine, "start")) == []

    state = done(machine, "status")
    registered = watcher.call("status").registrations
    # Running is said once it is registered, and the manager's process is the proxy itself, not a launcher of it.
    assert (state["state"], [item.pid for item in registered]) == ("running", [state["pid"]]), said(folders)
    assert "ready: registration" in said(folders)

    assert changes(done(machine, "stop")) == ["service"]
    assert watcher.call("status").registrations == ()
    assert changes(done(machine, "stop")) == []
    assert changes(done(machine, "uninstall")) == ["service", "program"]
    assert changes(done(machine, "uninstall")) == []
    assert done(machine, "status", status=Exit.FAILED)["state"] == "not installed"


def test_a_running_service_is_uninstalled_in_one_go(machine: Machine, folders: Path) -> None:
    watcher = machine.process()
    watcher.call("open")
    done(machine, "install", "--force")
    done(machine, "start")
    assert len(watcher.call("status").registrations) == 1, said(folders)

    assert changes(done(machine, "uninstall")) == ["stop", "service", "program"]

    assert watcher.call("status").registrations == ()


def test_a_service_that_cannot_start_says_why_in_its_log(machine: Machine, folders: Path, tmp_path: Path) -> None:
    policy = tmp_path / "rules.toml"
    policy.write_text('default = "relay"\n')
    done(machine, "install", "--force", "--policy", windows_path(policy))
    policy.write_text("default = 7\n")

    result = machine.command("service", "start")

    assert result.returncode == Exit.DRIVER_MISSING
    assert "service.log" in result.stderr
    assert "rules.toml" in said(folders)
    assert done(machine, "status", status=Exit.FAILED)["state"] == "stopped"


def test_a_killed_service_leaves_no_registration(machine: Machine, folders: Path) -> None:
    watcher = machine.process()
    watcher.call("open")
    done(machine, "install", "--force")
    done(machine, "start")
    pid = done(machine, "status")["pid"]

    machine.operator.call("terminate", pid)

    deadline = time.monotonic() + ANSWER
    while watcher.call("status").registrations and time.monotonic() < deadline:
        pass  # each look is a round trip to the driver
    assert watcher.call("status").registrations == ()
    # Wine goes on to say that it runs, and starts nothing anew: the recovery actions are asserted with a double.


def test_a_service_is_not_run_from_a_folder_that_others_can_write(machine: Machine, folders: Path) -> None:
    """Windows' own access lists: Wine makes them of the modes of the files, which belong to the user."""
    refused = machine.command("service", "install")

    assert refused.returncode == Exit.BAD_FILE
    assert "PM219" in refused.stderr and "can be written by S-1-5-21-" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert not (folders / "Program Files/Pointsman/service").exists()
