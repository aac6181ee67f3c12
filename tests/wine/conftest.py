"""One Wine prefix and one wineserver for all tests here; each test gets a freshly started driver."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator

import pytest

from pointsman.operate.proxy_service import SERVICE as PROXY_SERVICE
from pointsman.system.windows.service_manager import DriverService

from .machine import DRIVER, SIMULATOR, UNLOADED, Machine, Process, RemoteError, prepare

IMAGES = "\\SystemRoot\\System32\\drivers\\"


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    folders = prepare()
    if isinstance(folders, str):
        pytest.skip(folders)
    with (folders["prefix"].parent / "session.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another checkout's tests wait: a prefix has one set of services
        machine = Machine(**folders)
        try:
            operator = machine.operator
            for leftover in (PROXY_SERVICE, DRIVER):  # of a run that was killed
                if operator.call("query", leftover) is not None:
                    operator.call("stop", leftover)
                    operator.call("delete", leftover)
            operator.call("delete", SIMULATOR)
            operator.call("install", DriverService(SIMULATOR, IMAGES + "fwpkclnt.sys", "simwfp"))
            operator.call("start", SIMULATOR)
            yield machine
            operator.call("reset")
            operator.call("stop", SIMULATOR)
            operator.call("delete", SIMULATOR)
        finally:
            machine.shut_down()


@pytest.fixture
def service(machine: Machine) -> Iterator[DriverService]:
    """The driver's service as it is to be installed.  After the test it is gone, and has left nothing behind."""
    operator = machine.operator
    yield DriverService(DRIVER, IMAGES + "pointsman.sys", "Pointsman")
    machine.release_processes()
    if operator.call("query", DRIVER) is not None:
        operator.call("stop", DRIVER)
        operator.call("delete", DRIVER)
    machine.simulate(UNLOADED)
    books = machine.books()
    assert (books.misuses, books.violations, books.handles, books.objects) == (0, 0, 0, 0), books.last
    assert not books.notified


@pytest.fixture
def driver(machine: Machine, service: DriverService) -> DriverService:
    """Installed and started."""
    machine.operator.call("install", service)
    machine.operator.call("start", service.name)
    return service


@pytest.fixture
def proxy(machine: Machine, driver: DriverService) -> Callable[[], Process]:
    """Makes a Windows process that has the driver's device open."""

    def opened() -> Process:
        process = machine.process()
        process.call("open")
        return process

    return opened


@pytest.fixture
def refused() -> Callable[..., RemoteError]:
    def call(process: Process, name: str, *arguments: object) -> RemoteError:
        with pytest.raises(RemoteError) as caught:
            process.call(name, *arguments)
        return caught.value

    return call
