"""What a running proxy can be told: phases, pause, drain, and the commands in front of them."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pointsman.control.canary import canary_filters
from pointsman.control.commands import CommandError, ask
from pointsman.control.drain import Drain
from pointsman.control.pause import Pause
from pointsman.control.registration import Phase, Registration
from pointsman.policy.load import parse_policy
from pointsman.server.limits import Counters
from pointsman.system.interface import DriverError
from pointsman.testing.proxy import running_proxy
from pointsman.testing.system import FakeSystem
from pointsman.wire.abi import ABI_VERSION, STATUS_SIZE, Endpoints, Ioctl, Verdict
from pointsman.wire.filters import Layer

POLICY = b"""\
default = "inspect"
[[rule]]
net = "203.0.113.66"
action = "block"
"""


class Kernel(FakeSystem):
    """With an answer to STATUS: who is active."""

    def __init__(self) -> None:
        super().__init__()
        self.active: int | None = None
        """None: the newest that lives."""
        control = self.driver.control

        def with_status(code: int, request: bytes, reply_size: int) -> bytes:
            if code != Ioctl.STATUS:
                return control(code, request, reply_size)
            active = self.active if self.active is not None else max(self.driver.live, default=0)
            return struct.pack("<III", STATUS_SIZE, ABI_VERSION, active).ljust(STATUS_SIZE, b"\0")

        self.driver.control = with_status  # type: ignore[method-assign]  # one more IOCTL than the double has


def opened(system: FakeSystem, phase: Phase = Phase.FULL) -> Registration:
    registration = Registration(
        system, parse_policy(POLICY, "test"), Endpoints(v4=(IPv4Address("127.0.0.1"), 4000)),
        lease_ms=3000, phase=phase, canary=canary_filters(),
    )  # fmt: skip
    registration.open()
    return registration


def verdicts(system: FakeSystem) -> set[tuple[Layer, Verdict]]:
    return {(one.layer, Verdict(one.context >> 28 & 0xF)) for one in system.filter_engine.filters}


def names(system: FakeSystem) -> set[str]:
    return {one.name for one in system.filter_engine.filters}


def test_on_probation_blocks_hold_and_only_the_canary_is_redirected() -> None:
    system = Kernel()
    registration = opened(system, Phase.PROBATION)
    redirecting = [one for one in system.filter_engine.filters if one.context >> 28 & 0xF == Verdict.REDIRECT]

    assert {one.name for one in redirecting} == {"canary: redirect"}
    assert (Layer.AUTH_CONNECT_V4, Verdict.BLOCK) in verdicts(system)
    assert {one.context >> 32 for one in system.filter_engine.filters} == {registration.number}

    registration.enter(Phase.FULL)
    assert "canary: redirect" not in names(system)
    assert (Layer.CONNECT_REDIRECT_V4, Verdict.REDIRECT) in verdicts(system)


def test_paused_nothing_acts_and_a_new_policy_waits() -> None:
    system = Kernel()
    registration = opened(system)
    registration.enter(Phase.PAUSED)
    assert system.filter_engine.filters == []

    asyncio.run(registration.swap(parse_policy(b'default = "direct"', "other"), frozenset()))
    assert system.filter_engine.filters == []
    registration.enter(Phase.FULL)
    assert system.filter_engine.filters == []  # the new policy has none: it was not the old one that came back


def test_an_engine_that_refuses_leaves_the_phase_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Kernel()
    registration = opened(system)

    def refuse(_: object) -> None:
        raise DriverError("FwpmTransactionCommit0", 0x80320016)

    monkeypatch.setattr(system.filter_engine, "replace", refuse)
    with pytest.raises(DriverError):
        registration.enter(Phase.PAUSED)
    assert registration.phase is Phase.FULL


def test_an_instance_that_is_being_replaced_does_not_register_again() -> None:
    system = Kernel()
    registration = opened(system)
    registration.registers_again = False
    system.driver.forget_at_next_renewal = True

    registration.renew()
    registration.renew()

    assert (registration.number, system.driver.live) == (0, set())


@pytest.mark.asyncio
async def test_a_pause_ends_by_itself() -> None:
    system = Kernel()
    registration = opened(system)
    pause = Pause(registration)
    pause.pause(0.01)
    assert (system.filter_engine.filters, registration.phase) == ([], Phase.PAUSED)
    async with asyncio.timeout(10):
        while not system.filter_engine.filters:
            await asyncio.sleep(0.001)
    assert (pause.left, registration.phase) == (None, Phase.FULL)


@pytest.mark.asyncio
async def test_a_second_pause_counts_from_now_and_a_second_end_is_harmless() -> None:
    system = Kernel()
    pause = Pause(opened(system))
    pause.pause(600)
    pause.pause(300)
    assert (pause.left or 600) <= 300
    pause.resume()
    pause.resume()
    assert system.filter_engine.filters and pause.left is None


@pytest.mark.asyncio
@pytest.mark.parametrize("seconds", [0, -1, 86_401, float("nan"), float("inf")])
async def test_a_pause_without_end_is_refused(seconds: float) -> None:
    with pytest.raises(CommandError):
        Pause(opened(Kernel())).pause(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Moves the loop's time for whoever asks for it; the loop itself goes on as it was."""
    now = 0.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    real = asyncio.get_running_loop

    class Clock:
        def __init__(self) -> None:
            self.loop = real()

        def time(self) -> float:
            return now

    monkeypatch.setattr("pointsman.control.drain.asyncio.get_running_loop", Clock)
    yield advance


@pytest.mark.asyncio
async def test_a_relieved_instance_stands_by_then_withdraws_then_waits_for_its_connections(
    clock: Callable[[float], None],
) -> None:
    system, counters, over = Kernel(), Counters(open=1), asyncio.Event()
    registration = opened(system)
    drain = Drain(registration, counters, over.set, standby=10)
    system.active = registration.number + 1

    drain.replaced(limit=100)
    assert drain.state == "standby" and system.filter_engine.filters
    clock(9.9)
    drain._look()
    assert drain.state == "standby"
    clock(0.2)
    drain._look()
    assert drain.state == "retired" and system.filter_engine.closed
    assert not drain._is_over()  # a connection is open
    counters.open = 0
    assert drain._is_over()
    await asyncio.wait_for(drain.keep(), 10)
    assert over.is_set()


@pytest.mark.asyncio
async def test_an_instance_to_which_the_driver_falls_back_serves_as_if_nothing_had_been(
    clock: Callable[[float], None],
) -> None:
    system = Kernel()
    registration = opened(system)
    drain = Drain(registration, Counters(), lambda: None, standby=10)
    system.active = registration.number + 1
    drain.replaced(limit=5)
    clock(4)
    drain._look()
    assert not registration.registers_again

    system.active = registration.number  # the newer one has died
    clock(60)
    drain._look()
    assert (drain.state, registration.registers_again, drain._is_over()) == ("serving", True, False)

    system.active = registration.number + 1  # or it was only hung: now the time counts from here
    drain._look()
    clock(4)
    assert (drain.state, drain._is_over()) == ("standby", False)
    clock(2)
    assert drain._is_over()  # the limit, though it is shorter than the standby


@pytest.mark.asyncio
async def test_who_is_told_to_leave_withdraws_at_once_and_still_waits_for_what_is_on_its_way(
    clock: Callable[[float], None],
) -> None:
    system = Kernel()
    drain = Drain(opened(system), Counters(), lambda: None, standby=10)
    drain.leave(limit=100)

    assert drain.state == "retired" and system.driver.live == set()
    assert not drain._is_over()
    clock(10)
    assert drain._is_over()


@pytest.mark.asyncio
async def test_a_running_proxy_answers_what_it_is_asked(tmp_path: Path) -> None:
    system, own = Kernel(), os.getpid()
    async with running_proxy(tmp_path, POLICY.decode(), system=system) as proxy:

        async def told(command: str, **arguments: object) -> dict[str, object]:
            return await asyncio.to_thread(ask, system, own, command, arguments)

        status = await told("status")
        assert status["registration"] == proxy.ready.registration
        assert (status["phase"], status["state"], status["paused_seconds"]) == ("full", "serving", None)
        assert (await told("pause", seconds=60))["paused_seconds"] == pytest.approx(60, abs=5)
        assert system.filter_engine.filters == []
        assert (await told("status"))["phase"] == "paused"
        assert await told("resume") == {"was_paused": True}
        assert await told("resume") == {"was_paused": False}
        assert await told("learned") == {"entries": []}
        assert await told("forget", host="a.example") == {"removed": 0}
        for command, arguments in (
            ("pause", {"seconds": "60"}), ("pause", {"seconds": True}), ("pause", {"minutes": 1}),
            ("drain", {"successor": proxy.ready.registration}), ("drain", {"seconds": -1}), ("forget", {"host": 7}),
        ):  # fmt: skip
            with pytest.raises(CommandError):
                await told(command, **arguments)
        assert (await told("drain", seconds=0))["state"] == "retired"
        await asyncio.wait_for(proxy.stopped, 20)
