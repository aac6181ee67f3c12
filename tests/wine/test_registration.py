"""register, renew, withdraw, status and events of the real pointsman.sys, by the product's Windows code."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest

from pointsman.system.windows.service_manager import DriverService
from pointsman.wire import abi
from pointsman.wire.abi import Counter, Endpoints, EventKind, Ioctl, State

from .machine import Machine, Process, RemoteError

pytestmark = pytest.mark.timeout(900)
Refused = Callable[..., RemoteError]
Open = Callable[[], Process]
ENDPOINTS = Endpoints((IPv4Address("127.0.0.1"), 18080), (IPv6Address("::1"), 18081))
LEASE = 60_000  # ms: no test here waits for a lease to end
EPOCH_1601 = 116_444_736_000_000_000  # 100 ns from 1601 to 1970
SECOND = 10**9  # ns, for the grain of the kernel's clock
LOOKS = 2000  # at most, for something that comes with an event of the system; each is a round trip to the driver


def look_until(process: Process, condition: Callable[[abi.Status], bool]) -> abi.Status:
    status: abi.Status
    for _ in range(LOOKS):
        status = process.call("status")
        if condition(status):
            return status
    raise AssertionError(f"never came: {status}")


def events_of(process: Process) -> list[abi.Event]:
    """All that the driver remembers, but for the starts of processes."""
    found: list[abi.Event] = []
    first = 0
    while True:
        batch: abi.Events = process.call("events", first)
        if not batch.events:
            return [event for event in found if event.kind != EventKind.PROCESS_STARTED]
        found += batch.events
        first = batch.next_sequence


def test_the_driver_is_complete_and_passes_everything(proxy: Open) -> None:
    process = proxy()

    status = process.call("status")

    assert process.call("version") == abi.Version(1, "0.1.0")
    assert status.state == State.PROCESS_NOTIFY | State.REDIRECT_HANDLE | State.CALLOUTS | State.OBJECTS
    assert (status.notify_status, status.redirect_status, status.callout_status, status.object_status) == (0, 0, 0, 0)
    assert (status.active_registration, status.registrations) == (0, ())


def test_register_renew_withdraw(proxy: Open) -> None:
    process = proxy()

    registered = process.call("register", ENDPOINTS, LEASE)
    process.call("renew", registered.registration)
    status = process.call("status")

    (entry,) = status.registrations
    assert status.active_registration == registered.registration == 1
    assert (entry.pid, entry.process_start) == (process.pid, process.started)
    assert (entry.endpoints, entry.lease_ms) == (ENDPOINTS, LEASE)
    assert 0 < entry.lease_left_ms <= LEASE
    process.call("withdraw", registered.registration)
    status = process.call("status")
    assert (status.active_registration, status.registrations) == (0, ())
    assert status.generation > registered.generation
    counted = [status.counters[which] for which in (Counter.REGISTERED, Counter.RENEWED, Counter.WITHDRAWN)]
    assert counted == [1, 1, 1]
    assert [event.kind for event in events_of(process)] == [EventKind.REGISTERED, EventKind.WITHDRAWN]
    assert {(event.pid, event.process_start) for event in events_of(process)} == {(process.pid, process.started)}
    now = (time.time_ns() + SECOND) // 100 + EPOCH_1601
    assert all(process.started <= event.time <= now for event in events_of(process))


def test_a_lease_that_is_not_renewed_is_over(proxy: Open) -> None:
    process = proxy()
    process.call("register", ENDPOINTS, abi.LEASE_MIN_MS)

    status = look_until(process, lambda status: status.active_registration == 0)

    assert status.registrations[0].lease_left_ms == 0  # hung, not gone: a beat brings it back
    process.call("renew", status.registrations[0].registration)
    assert process.call("status").active_registration == status.registrations[0].registration


def test_the_registration_goes_with_a_killed_process(machine: Machine, proxy: Open) -> None:
    watcher, registrant = proxy(), proxy()
    number = registrant.call("register", ENDPOINTS, LEASE).registration
    assert watcher.call("status").active_registration == number

    machine.operator.call("terminate", registrant.pid)
    registrant.wait()

    status = look_until(watcher, lambda status: not status.registrations)
    assert status.active_registration == 0
    # Whichever comes first, the exit or the close of its handle, ends it: exactly one of them is counted.
    ends = [EventKind.OWNER_EXITED, EventKind.OWNER_CLOSED]
    assert status.counters[Counter.OWNER_EXITED] + status.counters[Counter.OWNER_CLOSED] == 1
    (end,) = [event for event in events_of(watcher) if event.kind in ends]
    assert (end.registration, end.pid, end.process_start) == (number, registrant.pid, registrant.started)


def test_the_exit_itself_ends_it_while_somebody_holds_the_handle(machine: Machine, proxy: Open) -> None:
    watcher, registrant = proxy(), proxy()
    number = registrant.call("register", ENDPOINTS, LEASE).registration
    watcher.call("hold", registrant.pid, registrant.call("handle"))

    machine.operator.call("terminate", registrant.pid)
    registrant.wait()

    status = look_until(watcher, lambda status: not status.registrations)
    assert (status.counters[Counter.OWNER_EXITED], status.counters[Counter.OWNER_CLOSED]) == (1, 0)
    end = events_of(watcher)[-1]
    assert (end.kind, end.registration, end.pid) == (EventKind.OWNER_EXITED, number, registrant.pid)


def test_the_registration_goes_with_an_orderly_end(proxy: Open) -> None:
    watcher, registrant = proxy(), proxy()
    registrant.call("register", ENDPOINTS, LEASE)

    registrant.end()

    assert look_until(watcher, lambda status: not status.registrations).active_registration == 0


def test_the_registration_goes_with_its_handle(proxy: Open) -> None:
    watcher, registrant = proxy(), proxy()
    registrant.call("register", ENDPOINTS, LEASE)

    registrant.call("close")

    status = look_until(watcher, lambda status: not status.registrations)
    assert status.counters[Counter.OWNER_CLOSED] == 1


def test_the_death_of_the_first_instance_changes_nothing(machine: Machine, proxy: Open) -> None:
    first, second = proxy(), proxy()
    old = first.call("register", ENDPOINTS, LEASE).registration
    new = second.call("register", ENDPOINTS, LEASE).registration
    status = second.call("status")
    assert status.active_registration == new
    assert [entry.registration for entry in status.registrations] == [new, old]

    machine.operator.call("terminate", first.pid)
    first.wait()

    status = look_until(second, lambda status: len(status.registrations) == 1)
    assert (status.active_registration, status.registrations[0].pid) == (new, second.pid)
    second.call("renew", new)


def test_the_death_of_the_second_instance_brings_the_first_back(machine: Machine, proxy: Open) -> None:
    first, second = proxy(), proxy()
    old = first.call("register", ENDPOINTS, LEASE).registration
    second.call("register", ENDPOINTS, LEASE)

    machine.operator.call("terminate", second.pid)
    second.wait()

    assert look_until(first, lambda status: len(status.registrations) == 1).active_registration == old


def test_nobody_renews_or_withdraws_for_another(proxy: Open, refused: Refused) -> None:
    owner, other = proxy(), proxy()
    number = owner.call("register", ENDPOINTS, LEASE).registration

    for order in ("renew", "withdraw"):
        error = refused(other, order, number)
        assert (error.name, error.facts["status"]) == ("WindowsDriverError", 5)
        assert "STATUS_ACCESS_DENIED 0xC0000022): the registration belongs to another process" in error.text
    assert owner.call("status").active_registration == number


def test_a_read_only_handle_may_look_and_not_touch(proxy: Open, refused: Refused) -> None:
    process = proxy()
    process.call("open_read_only")

    assert process.call("version").abi == 1
    assert refused(process, "register", ENDPOINTS, LEASE).facts["status"] == 5
    assert process.call("status").registrations == ()


def test_nothing_can_be_opened_below_the_device(proxy: Open, refused: Refused) -> None:
    assert "[PM201]" in refused(proxy(), "open_below", "anything").text


def test_an_unknown_registration_is_not_found(proxy: Open, refused: Refused) -> None:
    assert refused(proxy(), "renew", 77).facts["status"] == 1168


REGISTER = abi.register_request(ENDPOINTS, lease_ms=LEASE)
RENEW = abi.registration_request(1)
OTHER_VERSION = struct.pack("<II", len(REGISTER), 2) + REGISTER[8:]
WRONG_LENGTH_INSIDE = struct.pack("<II", 40, 1) + REGISTER[8:]
FOREIGN_ENDPOINT = abi.register_request(Endpoints((IPv4Address("203.0.113.1"), 80)), lease_ms=LEASE)
FOREIGN_PID = abi.register_request(ENDPOINTS, lease_ms=LEASE, pid=4)


@pytest.mark.parametrize(
    ("code", "request_bytes", "room", "error"),
    [
        (0x0012_2018, b"", 0, 1),  # function 0x806: not ours
        (Ioctl.REGISTER + 1, REGISTER, 24, 1),  # METHOD_IN_DIRECT of a known function
        (Ioctl.REGISTER, REGISTER[:-1], 24, 24),
        (Ioctl.REGISTER, REGISTER + b"\0", 24, 24),
        (Ioctl.REGISTER, b"", 24, 24),
        (Ioctl.REGISTER, REGISTER, 23, 122),
        (Ioctl.REGISTER, OTHER_VERSION, 24, 1306),
        (Ioctl.REGISTER, WRONG_LENGTH_INSIDE, 24, 1306),
        (Ioctl.REGISTER, FOREIGN_ENDPOINT, 24, 87),
        (Ioctl.REGISTER, FOREIGN_PID, 24, 87),
        (Ioctl.RENEW, RENEW[:8], 0, 24),
        (Ioctl.RENEW, struct.pack("<IIII", 16, 1, 1, 9), 0, 87),
        (Ioctl.WITHDRAW, struct.pack("<IIII", 16, 9, 1, 0), 0, 1306),
        (Ioctl.QUERY_VERSION, b"\0", 16, 24),
        (Ioctl.QUERY_VERSION, b"", 15, 122),
        (Ioctl.STATUS, b"", abi.STATUS_SIZE - 1, 122),
        (Ioctl.READ_EVENTS, abi.events_request(0), abi.EVENTS_SIZE - 1, 122),
        (Ioctl.READ_EVENTS, struct.pack("<IIQ", 16, 2, 0), abi.EVENTS_SIZE, 1306),
    ],
)
def test_wrong_codes_sizes_and_versions_give_the_documented_errors(
    proxy: Open, refused: Refused, code: int, request_bytes: bytes, room: int, error: int
) -> None:
    process = proxy()

    caught = refused(process, "control", int(code), request_bytes, room)

    assert (caught.name, caught.facts["status"]) == ("WindowsDriverError", error)
    status = process.call("status")
    assert (status.registrations, status.counters[Counter.REFUSED]) == ((), 1)


def test_a_process_that_starts_is_an_event(machine: Machine, driver: DriverService, proxy: Open) -> None:
    watcher, process = proxy(), machine.process(new=True)

    def seen() -> list[abi.Event]:
        batch: abi.Events = watcher.call("events", 0)
        return [event for event in batch.events if event.kind == EventKind.PROCESS_STARTED and event.pid == process.pid]

    found = next(filter(None, (seen() for _ in range(LOOKS))), [])

    (event,) = found
    assert event.process_start == process.started
    assert event.app_id.decode("utf-16-le").lower().endswith("\\python.exe")
