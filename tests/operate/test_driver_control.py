"""`DriverControl` on a double of Windows: what Wine cannot be made to do; every fault leaves things as they were."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator

import pytest

from pointsman.errors import Exit, PointsmanError
from pointsman.operate.driver_control import SERVICE
from pointsman.operate.placement import DriverFile, drivers_folder, placed
from pointsman.operate.signing import CERT_E_UNTRUSTEDROOT
from pointsman.system.services import ServiceState
from pointsman.wire.abi import Endpoints, RegistrationStatus

from .conftest import Machine


def refused(code: str, call: Callable[[], object]) -> PointsmanError:
    with pytest.raises(PointsmanError) as caught:
        call()
    assert caught.value.code == code
    assert len(str(caught.value).splitlines()) >= 4
    return caught.value


def test_nothing_is_changed_without_an_administrator(machine: Machine, file: DriverFile) -> None:
    machine.host.elevated = False
    control = machine.control

    for call in (lambda: control.install(file), lambda: control.upgrade(file), control.start, control.stop,
                 control.uninstall):  # fmt: skip
        assert refused("PM210", call).status == Exit.NOT_ELEVATED
    assert not machine.host.service_manager.entries
    assert not placed(drivers_folder(machine.host.program_files))


@pytest.mark.parametrize("code", [577, 1275, 4551, 0x800B_010C])
def test_a_driver_that_windows_blocks_is_explained_by_the_state_of_the_machine(
    machine: Machine, file: DriverFile, code: int
) -> None:
    machine.host.secure = True
    machine.host.signatures["pointsman.sys"] = CERT_E_UNTRUSTEDROOT
    machine.control.install(file)
    machine.host.service_manager.start_error[SERVICE] = code

    error = refused("PM205", machine.control.start)

    assert "test certificate" in error.seen and "Secure Boot is on" in error.seen
    assert "exclude each other" in error.do
    assert "go direct" in error.effect


@pytest.mark.parametrize(
    ("code", "word"), [(1068, "Base Filtering Engine"), (1058, "disabled"), (2, "quarantine"), (5, "administrator")]
)
def test_other_refusals_keep_their_own_words(machine: Machine, file: DriverFile, code: int, word: str) -> None:
    machine.control.install(file)
    machine.host.service_manager.start_error[SERVICE] = code

    assert word in str(refused("PM205", machine.control.start))


def test_a_driver_of_another_version_that_runs_is_named(machine: Machine, file: DriverFile) -> None:
    machine.control.install(file)
    machine.driver.abi = 2

    error = refused("PM203", machine.control.start)

    assert error.status == Exit.DRIVER_VERSION
    assert "ABI 2" in error.seen and "restart Windows" in error.do


def test_a_stop_that_stays_pending_removes_what_it_can_and_asks_for_a_restart(
    machine: Machine, file: DriverFile
) -> None:
    machine.control.install(file)
    machine.control.start()
    machine.host.service_manager.held = True

    report = machine.control.uninstall()

    assert report.restart_needed is not None and "stays loaded" in report.restart_needed
    assert machine.host.service_manager.entries[SERVICE].deleted
    again = machine.control.uninstall()  # no worse the second time
    assert again.restart_needed is not None


def test_a_stop_that_stays_pending_says_who_holds_it(machine: Machine, file: DriverFile) -> None:
    machine.control.install(file)
    machine.control.start()
    machine.host.service_manager.held = True

    error = refused("PM205", machine.control.stop)

    assert "device open" in error.seen and "Process Explorer" in error.do


def test_a_registered_proxy_keeps_the_driver_unless_forced(machine: Machine, file: DriverFile) -> None:
    machine.control.install(file)
    machine.control.start()
    machine.driver.registrations = [RegistrationStatus(1, 4711, 5, 3000, 2000, Endpoints())]

    assert "4711" in refused("PM216", machine.control.stop).seen
    assert machine.host.service_manager.entries[SERVICE].status.state == ServiceState.RUNNING
    assert machine.control.stop(force=True).changed


def test_a_file_in_use_goes_at_the_restart(machine: Machine, file: DriverFile, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.control.install(file)
    monkeypatch.setattr("pointsman.operate.driver_control.remove", lambda _path: False)

    report = machine.control.uninstall()

    assert report.restart_needed is not None
    assert machine.host.at_restart == placed(drivers_folder(machine.host.program_files))


def test_an_image_for_another_processor_is_refused(machine: Machine, file: DriverFile) -> None:
    machine.host.native_machine = 0xAA64

    assert "x64" in refused("PM211", lambda: machine.control.install(file)).seen
    assert not machine.host.service_manager.entries


def test_an_upgrade_of_a_running_driver_is_staged(
    machine: Machine, file: DriverFile, another: Callable[[], DriverFile]
) -> None:
    machine.control.install(file)
    machine.control.start()
    new = another()

    assert refused("PM215", lambda: machine.control.install(new)).do == "pointsman driver upgrade"
    report = machine.control.upgrade(new)

    assert report.restart_needed is not None and "when Windows starts" in report.restart_needed
    status = machine.host.service_manager.query(SERVICE)
    assert status is not None and status.state == ServiceState.RUNNING
    assert new.sha256[:32] in status.image
    assert len(placed(drivers_folder(machine.host.program_files))) == 2
    assert machine.control.upgrade(new).restart_needed is None  # nothing is left to stage


def test_a_status_that_knows_of_a_pending_upgrade(
    machine: Machine, file: DriverFile, another: Callable[[], DriverFile]
) -> None:
    machine.control.install(file)
    machine.control.start()
    machine.driver.version = 2 << 16

    state = machine.control.state()

    assert state.restart_needed
    assert "another version becomes active" in state.summary()


@contextlib.contextmanager
def disk_with(size: int) -> Iterator[None]:
    """No file may grow beyond that many bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_the_installed_driver_as_it_was(
    machine: Machine, file: DriverFile, another: Callable[[], DriverFile]
) -> None:
    machine.control.install(file)
    before = machine.host.service_manager.query(SERVICE)
    new = another()

    with disk_with(4096):
        error = refused("PM212", lambda: machine.control.upgrade(new))

    assert error.status == Exit.BAD_FILE and "make room" in error.do
    assert machine.host.service_manager.query(SERVICE) == before
    found = [path for path in drivers_folder(machine.host.program_files).rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in found] == [file.data]  # nothing half-written
    assert machine.control.upgrade(new).changed  # with room, the same command does it


def test_a_half_written_file_is_replaced(machine: Machine, file: DriverFile) -> None:
    machine.control.install(file)
    (path,) = placed(drivers_folder(machine.host.program_files))
    path.write_bytes(file.data[:100])

    assert [step.name for step in machine.control.install(file).steps if step.changed] == ["file"]
    assert path.read_bytes() == file.data
