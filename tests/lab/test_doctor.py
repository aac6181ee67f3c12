"""`pointsman doctor` in a live lab: real canaries through the driver, and what it says when the proxy is in trouble."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from pointsman.doctor.canary import TARGET_V4, TARGET_V6
from pointsman.lab.check import examine
from pointsman.lab.network import Network
from pointsman.lab.session import Session, SessionSettings

from .world import Lab, origin

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


async def examined(session: Session) -> dict[str, dict[str, Any]]:
    lab = Lab(session.machine)
    done = await lab.run(
        sys.executable, "-m", "pointsman", "doctor", "--json", "--ca", str(session.ca_dir), env=session.environment
    )
    assert done.out, done.err
    return {check["id"]: check for check in json.loads(done.out)["checks"]}


def outcomes(checks: dict[str, dict[str, Any]], *ids: str) -> list[str]:
    return [checks[id_]["outcome"] for id_ in ids]


def settings(port: int, port_v6: int | None, policy: Path | None = None) -> SessionSettings:
    maps = [f"{TARGET_V4}:80=127.0.0.1:{port}"]
    if port_v6 is not None:
        maps.append(f"[{TARGET_V6}]:80=[::1]:{port_v6}")
    return SessionSettings(Network.parse(maps=maps), policy, ())


def has_v6() -> bool:
    return any(finding.allowed for finding in examine() if finding.name == "IPv6 loopback")


async def test_a_live_lab_is_healthy() -> None:
    async with origin() as v4, origin(6 if has_v6() else 4) as v6:
        chosen = settings(v4.port, v6.port if has_v6() else None)
        async with Session(chosen, on_record=lambda _record: None) as session:
            proxy = await session.start_proxy()
            checks = await examined(session)
            await proxy.stop()

    assert outcomes(checks, "D10", "D11", "R1", "T2", "T4", "R5", "R5c", "R6") == ["ok"] * 8, checks
    assert checks["R2"]["outcome"] in ("ok", "warn")  # a warning where this machine is busy for a second
    assert f"registration {proxy.registration}" in checks["R5"]["seen"]
    if has_v6():
        assert checks["R5b"]["outcome"] == "ok", checks["R5b"]
    assert not [check for check in checks.values() if check["outcome"] == "fail"]


async def test_without_a_proxy_it_says_that_everything_goes_direct() -> None:
    async with origin() as v4, Session(settings(v4.port, None), on_record=lambda _record: None) as session:
        checks = await examined(session)

    assert outcomes(checks, "D10", "D11", "R1", "R5") == ["ok", "ok", "fail", "skipped"]
    assert "go direct" in checks["R1"]["effect"]


async def test_a_machine_that_slept_is_told_by_the_lease_and_recovers() -> None:
    """Suspended (SIGSTOP) until the lease is over, as a laptop does it to everyone; then it goes on."""
    async with origin() as v4, Session(settings(v4.port, None), on_record=lambda _record: None) as session:
        proxy = await session.start_proxy()
        proxy.process.send_signal(signal.SIGSTOP)
        await lease_is_over(session)
        asleep = await examined(session)
        proxy.process.send_signal(signal.SIGCONT)
        await registered_anew(session)
        awake = await examined(session)
        await proxy.stop()

    assert asleep["R1"]["outcome"] == "fail" and "leases are over" in asleep["R1"]["seen"]
    assert outcomes(awake, "R1", "R5", "R6") == ["ok"] * 3, awake


async def lease_is_over(session: Session) -> None:
    await watched(session, "status.active_registration == 0")


async def registered_anew(session: Session) -> None:
    await watched(session, "status.active_registration != 0")


async def watched(session: Session, condition: str) -> None:
    """Ask the driver until it is so."""
    script = f"""
import time
from pointsman.lab.system import LabSystem
from pointsman.wire import abi
driver = LabSystem().open_driver()
while True:
    status = abi.decode_status(driver.control(abi.Ioctl.STATUS, b"", abi.STATUS_SIZE))
    if {condition}:
        break
    time.sleep(0.05)  # the driver tells nobody when a lease ends: it is a comparison, not an event
"""
    done = await Lab(session.machine).run(sys.executable, "-c", script, env=dict(os.environ))
    assert done.status == 0, done.err
