from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from pointsman.control.policy_file import default_policy
from pointsman.control.registration import Registration
from pointsman.errors import Exit, PointsmanError
from pointsman.system.interface import DriverError
from pointsman.testing.system import FakeSystem
from pointsman.wire.abi import ABI_VERSION, Endpoints, Ioctl

ENDPOINTS = Endpoints(v4=(IPv4Address("127.0.0.1"), 4000))


def opened(system: FakeSystem, lease_ms: int = 3000) -> Registration:
    registration = Registration(system, default_policy(), ENDPOINTS, lease_ms=lease_ms)
    registration.open()
    return registration


def owners(system: FakeSystem) -> set[int]:
    return {one.context >> 32 for one in system.filter_engine.filters}


def test_the_version_is_asked_first_and_the_filters_carry_the_registration() -> None:
    system = FakeSystem()
    registration = opened(system)

    assert system.driver.calls == [Ioctl.QUERY_VERSION, Ioctl.REGISTER]
    assert owners(system) == {registration.number}


def test_a_driver_of_another_version_is_left_alone() -> None:
    system = FakeSystem(abi=ABI_VERSION + 1)

    with pytest.raises(PointsmanError) as caught:
        opened(system)

    assert (caught.value.code, caught.value.status) == ("PM203", Exit.DRIVER_VERSION)
    assert str(caught.value).split("\n") == [
        "pointsman: cannot configure the driver: it speaks another version  [PM203]",
        "  seen:    driver ABI 2 (pointsman.sys 0.1.0); this proxy needs ABI 1",
        "  effect:  nothing is intercepted; connections go direct (fail open)",
        "  do:      restart Windows to load the installed driver, then `pointsman doctor`",
    ]
    assert system.driver.calls == [Ioctl.QUERY_VERSION]
    assert system.driver.closed


def test_every_beat_renews() -> None:
    system = FakeSystem()
    registration = opened(system)
    registration.renew()
    registration.renew()

    assert system.driver.calls[2:] == [Ioctl.RENEW, Ioctl.RENEW]


@pytest.mark.parametrize(("lease_ms", "beat"), [(3000, 1.0), (60_000, 1.0), (500, 0.25)])
def test_a_lease_is_renewed_in_good_time(lease_ms: int, beat: float) -> None:
    assert opened(FakeSystem(), lease_ms).beat == beat


def test_a_refused_renewal_leads_to_a_new_registration_with_new_filters() -> None:
    system = FakeSystem()
    registration = opened(system)
    first = registration.number
    system.driver.forget_at_next_renewal = True

    registration.renew()

    assert registration.number != first
    assert system.driver.live == {registration.number}
    assert owners(system) == {registration.number}
    assert registration.refused_renewals == 1


def test_a_driver_that_refuses_everything_is_asked_again_at_the_next_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    system = FakeSystem()
    registration = opened(system)

    def refuse(code: int, request: bytes, reply_size: int) -> bytes:
        raise DriverError("x", 0xC0000001)

    with monkeypatch.context() as broken:
        broken.setattr(system.driver, "control", refuse)
        registration.renew()
        registration.renew()
        assert registration.number == 0

    registration.renew()
    assert owners(system) == {registration.number} != {0}


def test_a_driver_that_refuses_to_register_is_an_error_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    system = FakeSystem()

    def refuse(filters: object) -> None:
        raise DriverError("FwpmFilterAdd0", 0x80320009)

    monkeypatch.setattr(system.filter_engine, "replace", refuse)
    with pytest.raises(PointsmanError) as caught:
        opened(system)

    assert (caught.value.code, caught.value.seen) == ("PM204", "FwpmFilterAdd0: 0x80320009")
    assert system.driver.closed and system.filter_engine.closed
    assert system.driver.live == set()


def test_closing_withdraws_before_it_drops_the_filters_and_can_be_done_twice() -> None:
    system = FakeSystem()
    registration = opened(system)

    registration.close()
    registration.close()

    assert system.driver.calls[-1] is Ioctl.WITHDRAW
    assert system.driver.calls.count(Ioctl.WITHDRAW) == 1
    assert system.driver.closed and system.filter_engine.closed
