"""The proxy's service on a double of Windows, and the program that the service manager starts."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.cli import service_program
from pointsman.cli.service_program import open_log, run
from pointsman.errors import Exit, PointsmanError
from pointsman.operate.proxy_service import SERVICE, ProxyService, ServiceSettings, decode_settings, log_path
from pointsman.system.services import ProgramService, StartType
from pointsman.testing.system import FakeSystem

from .conftest import Machine


def service(machine: Machine) -> ProxyService:
    return ProxyService(machine.host, interpreter=r"C:\Python\python.exe", paths=[str(Path(__file__).parent)])


def changes(report: object) -> list[str]:
    return [step.name for step in report.steps if step.changed]  # type: ignore[attr-defined]  # a Report


def test_the_service_starts_the_base_interpreter_with_windows_and_after_the_driver(machine: Machine) -> None:
    report = service(machine).install(ServiceSettings(None, "ca"))

    installed = machine.host.service_manager.entries[SERVICE].service
    assert isinstance(installed, ProgramService)
    program = machine.host.program_files / "Pointsman/service/pointsman_service.py"
    assert installed.command == f'"C:\\Python\\python.exe" "{program}"'
    assert installed.start is StartType.AUTOMATIC
    assert installed.dependencies == ("BFE", "pointsman")
    assert min(installed.restart_after_ms) > 3000  # the driver's lease is over by then
    assert changes(report) == ["program", "settings", "service"]
    assert report.notes == []
    assert changes(service(machine).install(ServiceSettings(None, "ca"))) == []
    assert changes(service(machine).install(ServiceSettings("p.toml", "ca"))) == ["settings"]


def test_the_written_program_is_python_that_finds_the_package(machine: Machine) -> None:
    source = str(Path(service_program.__file__).parents[2])
    ProxyService(machine.host, interpreter=sys.executable, paths=[source]).install(ServiceSettings(None, "ca"))
    program = machine.host.program_files / "Pointsman/service/pointsman_service.py"

    result = subprocess.run(
        [sys.executable, "-I", str(program)], capture_output=True, text=True, check=False, timeout=60
    )

    # Outside Windows there is no service manager to answer to: the bindings say so, and nothing earlier failed.
    assert "advapi32 is part of Windows" in result.stderr


def test_whoever_is_no_administrator_changes_nothing(machine: Machine) -> None:
    machine.host.elevated = False

    calls: list[Callable[[], object]] = [
        lambda: service(machine).install(ServiceSettings(None, "ca")),
        service(machine).start,
        service(machine).stop,
        service(machine).uninstall,
    ]
    for call in calls:
        with pytest.raises(PointsmanError, match="needs an administrator"):
            call()
    assert not machine.host.program_files.exists()


def test_files_that_cannot_be_written_leave_the_service_as_it_was(machine: Machine) -> None:
    machine.host.program_files.parent.mkdir(parents=True)
    machine.host.program_files.write_text("a file where a folder should be")

    with pytest.raises(PointsmanError) as caught:
        service(machine).install(ServiceSettings(None, "ca"))

    assert caught.value.code == "PM217"
    assert SERVICE not in machine.host.service_manager.entries


settings = st.builds(
    ServiceSettings, st.none() | st.text(), st.text(), st.none() | st.text(), st.lists(st.text()).map(tuple)
)


@given(settings)
def test_settings_come_out_as_they_went_in(written: ServiceSettings) -> None:
    read = decode_settings(written.encode())

    assert (read.policy or None, read.ca_dir) == (written.policy or None, written.ca_dir)
    assert read == written or written.policy == ""


@given(st.text(max_size=50))
def test_junk_is_no_settings(junk: str) -> None:
    try:
        assert isinstance(decode_settings(junk), ServiceSettings)
    except ValueError:
        return


class Control:
    """Stops the service as soon as it says that it runs."""

    def __init__(self) -> None:
        self.ran = 0

    def running(self, on_stop: Callable[[], None]) -> None:
        self.ran += 1
        on_stop()


@pytest.fixture
def quiet() -> Iterator[None]:
    """The log is the process's own: put it back."""
    root = logging.getLogger()
    before, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)
    logging.raiseExceptions = raising


def test_the_program_runs_the_proxy_and_stops_when_it_is_told(tmp_path: Path, quiet: None) -> None:
    (tmp_path / "settings.json").write_text(ServiceSettings(None, str(tmp_path / "ca")).encode())
    open_log(tmp_path / "logs/service.log")
    system, control = FakeSystem(), Control()

    status = run(tmp_path / "settings.json", system, control)  # type: ignore[arg-type]  # a double

    assert (status, control.ran) == (0, 1)
    assert system.driver.closed and not system.driver.live
    assert "stopped" in (tmp_path / "logs/service.log").read_text()


def test_what_a_person_can_mend_is_in_the_log_and_in_the_status(tmp_path: Path, quiet: None) -> None:
    policy = tmp_path / "rules.toml"
    policy.write_text("default = 7\n")
    (tmp_path / "settings.json").write_text(ServiceSettings(str(policy), str(tmp_path / "ca")).encode())
    open_log(tmp_path / "service.log")

    status = run(tmp_path / "settings.json", FakeSystem(), Control())  # type: ignore[arg-type]  # a double

    assert status == Exit.POLICY
    assert "rules.toml" in (tmp_path / "service.log").read_text()


def test_settings_that_are_gone_are_a_failure_with_a_trace(tmp_path: Path, quiet: None) -> None:
    open_log(tmp_path / "service.log")

    assert run(tmp_path / "nothing.json", FakeSystem(), Control()) == Exit.INTERNAL  # type: ignore[arg-type]
    assert "nothing.json" in (tmp_path / "service.log").read_text()


def test_a_log_that_cannot_be_written_costs_nobody_the_proxy(tmp_path: Path, quiet: None) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    (tmp_path / "settings.json").write_text(ServiceSettings(None, str(tmp_path / "ca")).encode())

    open_log(tmp_path / "blocked/service.log")

    assert run(tmp_path / "settings.json", FakeSystem(), Control()) == 0  # type: ignore[arg-type]  # a double


def test_log_path_is_the_machines(machine: Machine) -> None:
    assert log_path(machine.host).parent.parent == machine.host.program_data


@pytest.mark.parametrize(
    ("writers", "told"), [(("Users", "S-1-5-21-1-2-3-1001"), "by Users, S-1-5-21"), (None, "cannot be read")]
)
def test_code_that_others_can_change_is_not_run_as_system(
    machine: Machine, writers: tuple[str, ...] | None, told: str
) -> None:
    machine.host.writers = writers

    with pytest.raises(PointsmanError) as caught:
        service(machine).install(ServiceSettings(None, "ca"))
    assert (caught.value.code, caught.value.status) == ("PM219", Exit.BAD_FILE)
    assert told in caught.value.seen and "--force" in caught.value.do
    assert SERVICE not in machine.host.service_manager.entries
    assert not (machine.host.program_files / "Pointsman/service").exists()

    report = service(machine).install(ServiceSettings(None, "ca"), force=True)
    assert any("runs as SYSTEM" in note for note in report.notes)
    assert SERVICE in machine.host.service_manager.entries
