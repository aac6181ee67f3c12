"""The driver's service by the real service control manager, and what the loaded image says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pointsman.system.windows.service_manager import DriverService, ServiceState

from .machine import Machine, Process, RemoteError

pytestmark = pytest.mark.timeout(900)
Refused = Callable[..., RemoteError]


def test_the_interpreter_is_a_windows_one(machine: Machine) -> None:
    assert "[MSC v." in machine.operator.version
    assert machine.operator.pid != 0


def test_create_start_stop_delete(machine: Machine, service: DriverService) -> None:
    call = machine.operator.call

    assert call("query", service.name) is None
    assert call("install", service) is True
    installed = call("query", service.name)
    assert (installed.state, installed.kernel_driver) == (ServiceState.STOPPED, True)
    assert installed.image == service.image
    assert call("start", service.name) is True
    assert call("query", service.name).state == ServiceState.RUNNING
    assert call("stop", service.name) is True
    assert call("query", service.name).state == ServiceState.STOPPED
    assert call("delete", service.name) is True
    assert call("query", service.name) is None


def test_what_is_so_already_is_no_error(machine: Machine, service: DriverService) -> None:
    call = machine.operator.call

    assert call("delete", service.name) is False
    assert call("install", service) is True
    assert call("install", service) is False
    assert call("stop", service.name) is False
    assert call("start", service.name) is True
    assert call("start", service.name) is False


def test_an_existing_service_is_made_like_the_wanted_one(machine: Machine, service: DriverService) -> None:
    call = machine.operator.call
    call("install", replace(service, image="C:\\old\\place\\pointsman.sys"))

    assert call("install", service) is False

    assert call("query", service.name).image == service.image
    assert call("start", service.name) is True


def test_starting_what_does_not_exist_says_so(machine: Machine, service: DriverService, refused: Refused) -> None:
    error = refused(machine.operator, "start", "pointsman-of-nowhere")

    assert (error.name, error.facts["windows_code"]) == ("ServiceError", 1060)
    assert "Windows error 1060: there is no such service" in error.text
    assert "do:" in error.text


def test_an_image_that_is_not_there_says_so(machine: Machine, service: DriverService, refused: Refused) -> None:
    machine.operator.call("install", replace(service, image=service.image.replace("pointsman", "nothing")))

    error = refused(machine.operator, "start", service.name)

    # Windows says 2 here and Wine 1114 for every image that does not load.
    assert "Windows error 1114: the driver file cannot be loaded" in error.text


def test_without_the_driver_there_is_no_device(machine: Machine, service: DriverService, refused: Refused) -> None:
    error = refused(machine.process(), "open")

    assert error.name == "PointsmanError"
    assert "[PM201]" in error.text


def test_ten_loads_leave_nothing_behind(machine: Machine, service: DriverService) -> None:
    machine.operator.call("install", service)
    for _ in range(10):
        assert machine.operator.call("start", service.name)
        assert machine.books().notified
        assert machine.books().objects == 6  # provider, sublayer, four callouts
        assert machine.operator.call("stop", service.name)
        assert machine.books().objects == 0
        assert not machine.books().notified


def test_the_device_is_gone_with_the_driver(
    machine: Machine, driver: DriverService, proxy: Callable[[], Process], refused: Refused
) -> None:
    first = proxy()
    assert first.call("version").abi == 1
    first.call("close")

    machine.operator.call("stop", driver.name)

    assert "[PM201]" in refused(first, "open").text
