"""One connect() through the real driver's callouts, with filters of the product's Windows filter engine code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from msgspec import structs

from pointsman.system.windows.service_manager import DriverService
from pointsman.wire import abi
from pointsman.wire.abi import RULE_DEFAULT, Endpoints, EventKind, Reason, Verdict, filter_context
from pointsman.wire.filters import Condition, Field, Filter, Layer
from pointsman.wire.redirect_context import decode_redirect_context, encode_redirect_context

from .machine import ROOT, Machine, Process, RemoteError

pytestmark = pytest.mark.timeout(900)
Open = Callable[[], Process]
ENDPOINTS = Endpoints((IPv4Address("127.0.0.1"), 18080), (IPv6Address("::1"), 18080))
APP_ID = "\\a.exe\0".encode("utf-16-le")  # the golden one
ELSEWHERE = (IPv4Address("203.0.113.7"), 443)
LEASE = 60_000  # ms


def vector(name: str) -> bytes:
    return bytes.fromhex((ROOT / "abi/vectors" / f"{name}.hex").read_text())


def redirect_all(registration: int) -> list[Filter]:
    context = filter_context(registration, Verdict.REDIRECT, RULE_DEFAULT)
    return [Filter("redirect", layer, 1, context) for layer in (Layer.CONNECT_REDIRECT_V4, Layer.CONNECT_REDIRECT_V6)]


@pytest.fixture
def registered(proxy: Open) -> Process:
    """A proxy process with a registration, the first since the driver was loaded, and an engine session."""
    process = proxy()
    assert process.call("register", ENDPOINTS, LEASE).registration == 1
    process.call("open_engine")
    return process


@pytest.mark.parametrize(
    ("name", "destination"),
    [
        ("redirect_context_v4", ELSEWHERE),
        ("redirect_context_v6", (IPv6Address("2001:db8::7"), 8443)),
        ("redirect_context_mapped", (IPv6Address("::ffff:203.0.113.7"), 443)),
    ],
)
def test_the_redirect_context_has_the_golden_bytes(
    machine: Machine, registered: Process, name: str, destination: tuple[abi.Address, int]
) -> None:
    registered.call("replace", redirect_all(1))
    app = machine.operator

    dialled = machine.dial(app.pid, destination, APP_ID)

    assert (dialled.redirected, dialled.remote_port) == (True, 18080)
    context = decode_redirect_context(dialled.context)
    golden = decode_redirect_context(vector(name))
    # The golden process and clock are made up; everything else must be the same bytes.
    expected = structs.replace(golden, time=context.time, pid=app.pid, process_start=app.started)
    assert dialled.context == encode_redirect_context(expected)
    assert encode_redirect_context(structs.replace(expected, time=golden.time, pid=777, process_start=3333)) == vector(
        name
    )
    machine.hang_up(dialled.flow)


def test_filters_vanish_with_the_session_and_with_a_killed_process(machine: Machine, registered: Process) -> None:
    app = machine.operator
    registered.call("replace", redirect_all(1))
    assert machine.books().objects == 6 + 2
    registered.call("close_engine")
    assert machine.books().objects == 6
    registered.call("open_engine")
    registered.call("replace", redirect_all(1))
    assert machine.dial(app.pid, (IPv4Address("10.1.2.3"), 80), APP_ID).redirected is False

    app.call("terminate", registered.pid)
    registered.wait()

    for _ in range(2000):
        if machine.books().objects == 6:
            break
    assert machine.books().objects == 6
    dialled = machine.dial(app.pid, ELSEWHERE, APP_ID)
    assert (dialled.redirected, dialled.blocked) == (False, False)


def test_replacing_swaps_and_a_refused_set_leaves_the_old_one(machine: Machine, registered: Process) -> None:
    app = machine.operator
    registered.call("replace", redirect_all(1))
    registered.call("replace", redirect_all(1)[:1])
    assert machine.books().objects == 6 + 1
    too_many = tuple(Condition(Field.REMOTE_PORT, port) for port in range(1, 200))  # the simulator takes 128

    with pytest.raises(RemoteError) as caught:
        registered.call("replace", [replace(redirect_all(1)[0], conditions=too_many)])

    assert (caught.value.name, caught.value.facts["status"]) == ("DriverError", 0x8032_0035)
    assert machine.books().objects == 6 + 1
    dialled = machine.dial(app.pid, ELSEWHERE, APP_ID)
    assert dialled.redirected
    machine.hang_up(dialled.flow)


def test_conditions_reach_the_engine_as_they_were_meant(machine: Machine, registered: Process) -> None:
    app = machine.operator
    conditions = (
        Condition(Field.APP_ID, APP_ID),
        Condition(Field.PROTOCOL, 6),
        Condition(Field.REMOTE_PORT, (440, 450)),
    )
    registered.call("replace", [replace(redirect_all(1)[0], conditions=conditions)])

    hit = machine.dial(app.pid, ELSEWHERE, APP_ID)
    other_port = machine.dial(app.pid, (ELSEWHERE[0], 451), APP_ID)
    other_app = machine.dial(app.pid, ELSEWHERE, "\\b.exe\0".encode("utf-16-le"))

    assert [dialled.redirected for dialled in (hit, other_port, other_app)] == [True, False, False]
    machine.hang_up(hit.flow)


def test_a_block_filter_blocks_and_is_an_event(machine: Machine, registered: Process) -> None:
    context = filter_context(1, Verdict.BLOCK, 9)
    registered.call("replace", [Filter("block", Layer.AUTH_CONNECT_V4, 1, context)])

    assert machine.dial(machine.operator.pid, ELSEWHERE, APP_ID).blocked

    batch: abi.Events = registered.call("events", 0)
    (flow,) = [event for event in batch.events if event.kind == EventKind.FLOW]
    assert (flow.verdict, flow.reason, flow.rule_id) == (Verdict.BLOCK, Reason.BLOCKED_BY_RULE, 9)
    assert (flow.remote, flow.app_id) == (ELSEWHERE, APP_ID[:-2])


def test_the_proxy_itself_is_exempt(machine: Machine, registered: Process) -> None:
    registered.call("replace", redirect_all(1))

    assert machine.dial(registered.pid, ELSEWHERE, APP_ID).redirected is False
    assert registered.call("status").counters[Reason.OWN_PROCESS] == 1


def test_the_driver_stops_under_a_live_proxy(machine: Machine, driver: DriverService, registered: Process) -> None:
    """Its filters stay, their callouts are gone, and everything passes: fail open."""
    operator = machine.operator
    registered.call("replace", redirect_all(1))
    registered.call("close")
    operator.call("stop", driver.name)

    dialled = machine.dial(operator.pid, ELSEWHERE, APP_ID)

    assert (dialled.redirected, dialled.blocked) == (False, False)
    registered.call("close_engine")
    # What the filters referred to could not be deleted; the next load takes it over and its stop removes it.
    assert machine.books().objects == 4  # provider, sublayer, two callouts
    operator.call("start", driver.name)
    operator.call("stop", driver.name)


def test_the_image_is_the_one_that_is_shipped(machine: Machine) -> None:
    shipped = Path(ROOT / "build/driver/x64/pointsman.sys").read_bytes()

    assert (machine.prefix / "drive_c/windows/system32/drivers/pointsman.sys").read_bytes() == shipped
