"""The double of the service manager does what a real one does (tests/wine runs the same cases)."""

from __future__ import annotations

from pointsman.system.services import DriverService, ServiceError
from pointsman.testing.host import FakeServices
from tests.services_contract import EXPECTED, driver_service_cases


def test_the_double_keeps_services_as_windows_does() -> None:
    services = FakeServices()

    def call(method: str, *arguments: object) -> object:
        try:
            return getattr(services, method)(*arguments)
        except ServiceError as error:
            return f"error {error.windows_code}"

    def state_of(name: str) -> str | None:
        status = services.query(name)
        return None if status is None else status.state.name

    told = driver_service_cases(call, DriverService("pointsman", "C:\\pointsman.sys", "Pointsman"), state_of)

    assert told == EXPECTED
