"""A Windows machine in a folder, with the driver's device behind its service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.errors import PointsmanError
from pointsman.operate.driver_control import SERVICE, DriverControl
from pointsman.operate.placement import DriverFile, read_driver
from pointsman.system.services import ServiceState
from pointsman.testing.host import FakeHost
from pointsman.testing.system import StatusDriver

BUILT = Path(__file__).resolve().parents[2] / "build/driver/x64/pointsman.sys"


class Machine:
    """The host, what the driver says while it runs, and the operations on both."""

    def __init__(self, folder: Path) -> None:
        self.host = FakeHost(folder / "machine")
        self.driver = StatusDriver()
        self.control = DriverControl(self.host, self.open_driver)

    def open_driver(self) -> StatusDriver:
        status = self.host.service_manager.query(SERVICE)
        if status is None or status.state == ServiceState.STOPPED:
            raise PointsmanError(
                "there is no driver", code="PM201", seen="no such device", effect="none", do="start it"
            )
        return self.driver


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> DriverFile:
    if not BUILT.exists():
        pytest.skip("`make driver` has not been run")
    (tmp_path / "pointsman.sys").write_bytes(BUILT.read_bytes())
    return read_driver(tmp_path / "pointsman.sys")


@pytest.fixture
def another(file: DriverFile) -> Callable[[], DriverFile]:
    """The same driver as another file: a build of another day."""

    def made() -> DriverFile:
        path = file.path.with_name("another.sys")
        path.write_bytes(file.data + bytes(16))
        return read_driver(path)

    return made
