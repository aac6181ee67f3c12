"""Updates under load: real proxies, real signals at observed steps, and clients (Node) that never retry.

The full size is `bench/handover.py`; its numbers are in docs/performance.md.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pointsman.errors import Exit, PointsmanError
from pointsman.lab.machine import Process
from pointsman.lab.session import LabProxy

from .load import NODE, TIMEOUT, Load, open_load

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(NODE is None, reason="the clients and the origin are Node programs, and there is no node"),
]
CLIENTS = 25
PAUSE = 100  # ms between the requests of a client
DIRECT = "Demo Internet CA"  # who signed what a client sees when nobody is in between


def signal_at(step: str, number: int) -> Callable[[str, Process], None]:
    return lambda at, process: process.send_signal(number) if at == step else None


async def refused(load: Load, on_step: Callable[[str, Process], None]) -> PointsmanError:
    with pytest.raises(PointsmanError) as caught:
        await load.proxy("--takeover", on_step=on_step)
    return caught.value


async def serves(load: Load, proxy: LabProxy) -> None:
    """It is the active one, and what comes is inspected: soon, since what was classified before is answered first."""
    await load.status_until(proxy, lambda status: bool(status["state"] == "serving"))

    async def direct() -> int:
        await load.until(2 * CLIENTS)
        return int((await load.report())["issuers"].get(DIRECT, 0))

    async with asyncio.timeout(TIMEOUT):
        before = await direct()
        while (now := await direct()) != before:
            before = now


async def test_updates_in_a_row_fail_no_request_and_reset_no_connection() -> None:
    async with open_load() as load:
        await load.proxy()
        await load.start_clients(CLIENTS, PAUSE)
        for _ in range(4):  # five instances are more than the driver keeps registrations
            await load.proxy("--takeover")
            await load.until(2 * CLIENTS)
        *old, newest = load.proxies
        told = await load.end_clients()
        ended = [await asyncio.wait_for(proxy.ended(), TIMEOUT) for proxy in old]

        assert told["failures"] == []
        assert set(told["kinds"]) == {"http1Kept", "http1New", "http2Kept", "http2New", "webSocket"}
        assert ended == [0] * len(old)
        assert (await load.status(newest))["state"] == "serving"
        assert load.system.control.peers() == [newest.process.pid]


async def test_an_instance_that_crashes_before_it_is_in_charge_costs_nobody_anything() -> None:
    async with open_load() as load:
        old = await load.proxy()
        await load.start_clients(CLIENTS, PAUSE)
        for step in ("listening", "registered", "canary"):
            await refused(load, signal_at(step, signal.SIGKILL))
            await serves(load, old)

        assert (await load.end_clients())["failures"] == []


@pytest.mark.parametrize("step", ["active", "relieved"])
async def test_an_instance_that_crashes_in_charge_gives_back_to_the_one_it_relieved(step: str) -> None:
    async with open_load() as load:
        old = await load.proxy()
        await load.start_clients(CLIENTS, PAUSE)
        heard: list[str] = []

        def crash(at: str, process: Process) -> None:
            heard.append(at)
            if at == step:
                process.send_signal(signal.SIGKILL)

        try:
            new = await load.proxy("--takeover", on_step=crash)
            await asyncio.wait_for(new.ended(), TIMEOUT)
        except PointsmanError:
            assert step == "active"  # killed before it could say that it is ready
        await serves(load, old)
        # What the killed one carried, and who was on the way to its port when it died: nobody can save those.
        lost = (await load.report())["failures"]
        await serves(load, old)

        assert step in heard
        assert (await load.end_clients())["failures"] == lost


async def test_an_instance_whose_canary_dies_withdraws() -> None:
    def kill_the_canary(step: str, process: Process) -> None:
        if step == "registered":
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)

    async with open_load() as load:
        old = await load.proxy()
        await load.start_clients(CLIENTS, PAUSE)
        error = await refused(load, kill_the_canary)
        await serves(load, old)

        assert error.status is Exit.TAKEOVER
        assert (await load.end_clients())["failures"] == []


async def test_an_instance_whose_certificates_nobody_trusts_withdraws() -> None:
    async with open_load() as load:
        old = await load.proxy()
        await load.start_clients(CLIENTS, PAUSE)
        foreign = load.session.directory / "bundle.pem"

        def swap_the_root(step: str, _: Process) -> None:
            if step == "listening":  # what the canary is told to trust is no longer the root that signs
                text = foreign.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
                (load.session.ca_dir / "root.pem").write_text(text)

        error = await refused(load, swap_the_root)
        await serves(load, old)

        assert error.status is Exit.TAKEOVER
        assert (await load.end_clients())["failures"] == []


async def test_an_instance_that_hangs_on_probation_costs_nobody_anything() -> None:
    async with open_load() as load:
        old = await load.proxy()
        await load.start_clients(CLIENTS, PAUSE)
        hung: list[Process] = []

        def stop(step: str, process: Process) -> None:
            if step == "registered":
                process.send_signal(signal.SIGSTOP)
                hung.append(process)

        starting = asyncio.create_task(refused(load, stop))
        async with asyncio.timeout(TIMEOUT):
            while not hung or load.system_active() != old.registration:
                await load.until(1)
        await serves(load, old)
        hung[0].send_signal(signal.SIGKILL)
        await starting

        assert (await load.end_clients())["failures"] == []


async def test_an_instance_that_hangs_in_charge_loses_nothing_if_it_wakes() -> None:
    async with open_load() as load:
        old = await load.proxy()
        await load.start_clients(CLIENTS, PAUSE)
        new = await load.proxy("--takeover")
        new.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(TIMEOUT):
            while load.system_active() != old.registration:
                await load.until(1)
        await serves(load, old)
        new.process.send_signal(signal.SIGCONT)
        await load.status_until(old, lambda status: bool(status["state"] == "standby"))
        await load.until(2 * CLIENTS)

        assert (await load.end_clients())["failures"] == []


async def test_a_pause_outlives_a_hand_over() -> None:
    async with open_load() as load:
        old = await load.proxy()
        await load.tell(old, "pause", {"seconds": 600})
        new = await load.proxy("--takeover")
        status = await load.status(new)
        await load.tell(new, "resume", {})

        assert status["phase"] == "paused"
        assert 500 < status["paused_seconds"] <= 600
        assert (await load.status(new))["phase"] == "full"
