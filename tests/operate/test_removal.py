"""`pointsman uninstall` on a double of Windows: from whatever state, to nothing, with proof."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.errors import Exit, PointsmanError
from pointsman.operate.driver_control import SERVICE
from pointsman.operate.placement import DriverFile, drivers_folder
from pointsman.operate.proxy_service import SERVICE as PROXY_SERVICE
from pointsman.operate.proxy_service import ProxyService, ServiceSettings
from pointsman.operate.removal import Part, Remover
from pointsman.testing.host import FakeWfpObjects

from .conftest import Machine


class Installed:
    def __init__(self, machine: Machine, file: DriverFile, ca_dir: Path) -> None:
        self.machine = machine
        self.ca_dir = ca_dir
        self.stores = ["root A in LocalMachine", "root B in LocalMachine"]
        ca_dir.mkdir(parents=True)
        (ca_dir / "root-key.pem").write_text("key")
        machine.control.install(file)
        services = machine.host.service_manager
        services.on_start = lambda name: self._loaded(True) if name == SERVICE else None
        services.on_stop = lambda name: self._loaded(False) if name == SERVICE else None
        self.service = ProxyService(machine.host, interpreter="python.exe", paths=[])
        self.service.install(ServiceSettings(None, str(ca_dir)))
        self.service.start()

    def _loaded(self, loaded: bool) -> None:
        host = self.machine.host
        if loaded:
            host.devices["Pointsman"] = r"\Device\Pointsman"
            return
        host.devices.clear()
        if isinstance(host.wfp, FakeWfpObjects):
            host.wfp.providers.clear()

    def remove_trust(self) -> list[str]:
        gone, self.stores = self.stores, []
        return gone

    def remover(self, remove_trust: Callable[[], list[str]] | None = None) -> Remover:
        machine = self.machine
        trust = Part("roots", True, lambda: bool(self.stores), remove_trust or self.remove_trust)
        return Remover(machine.host, machine.open_driver, (self.ca_dir,), (trust,))


@pytest.fixture
def installed(machine: Machine, file: DriverFile, tmp_path: Path) -> Installed:
    return Installed(machine, file, tmp_path / "user/Pointsman/ca")


def test_everything_goes_and_the_proof_is_printed(installed: Installed) -> None:
    removal = installed.remover().remove()

    assert [trace.there for trace in removal.before].count(True) == 8
    assert removal.complete and not removal.problems
    assert [trace.there for trace in removal.after].count(True) == 0
    assert not installed.machine.host.service_manager.entries
    assert not (installed.machine.host.program_files / "Pointsman").exists()
    assert not installed.ca_dir.exists()
    assert installed.stores == []
    again = installed.remover().remove()
    assert again.complete and not again.report.changed


def test_the_authority_can_stay(installed: Installed) -> None:
    removal = installed.remover().remove(keep_ca=True)

    assert removal.complete
    assert (installed.ca_dir / "root-key.pem").exists()
    assert len(installed.stores) == 2


SPOILS: dict[str, Callable[[Installed], object]] = {
    "no driver service": lambda it: it.machine.host.service_manager.entries.pop(SERVICE),
    "no proxy service": lambda it: it.machine.host.service_manager.entries.pop(PROXY_SERVICE),
    "no files": lambda it: shutil.rmtree(drivers_folder(it.machine.host.program_files)),
    "no program": lambda it: shutil.rmtree(it.machine.host.program_files / "Pointsman/service"),
    "driver not loaded": lambda it: it.machine.host.service_manager.stop(SERVICE),
    "no authority": lambda it: shutil.rmtree(it.ca_dir),
    "no filter engine": lambda it: setattr(it.machine.host, "wfp", OSError(1753, "no endpoint")),
}


@pytest.mark.parametrize("what", sorted(SPOILS))
def test_a_half_is_removed_as_well(installed: Installed, what: str) -> None:
    SPOILS[what](installed)
    if what == "no driver service":
        installed._loaded(False)

    removal = installed.remover().remove()

    assert removal.complete, [trace for trace in removal.after if trace.there]
    assert not removal.problems


def test_one_part_that_cannot_go_does_not_keep_the_others(installed: Installed) -> None:
    def refuse() -> list[str]:
        raise PointsmanError("cannot open the store", code="PM4", seen="denied", effect="a root stays", do="again")

    removal = installed.remover(refuse).remove()

    assert [error.what for error in removal.problems] == ["cannot open the store"]
    assert not installed.machine.host.service_manager.entries
    assert installed.remover().remove().complete  # the same command finishes it


def test_a_driver_that_stays_loaded_asks_for_a_restart(installed: Installed) -> None:
    # The proxy's own stop works; only the driver's device is held.
    installed.service.uninstall()
    installed.machine.host.service_manager.held = True

    removal = installed.remover().remove()

    assert removal.report.restart_needed is not None
    assert not removal.complete
    assert any(trace.there and "driver" in trace.name for trace in removal.after)


def test_without_an_administrator_nothing_is_removed(installed: Installed) -> None:
    installed.machine.host.elevated = False

    with pytest.raises(PointsmanError) as caught:
        installed.remover().remove()

    assert caught.value.status == Exit.NOT_ELEVATED
    assert installed.ca_dir.exists() and len(installed.machine.host.service_manager.entries) == 2
