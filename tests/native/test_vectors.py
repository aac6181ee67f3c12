"""The golden bytes in abi/vectors, which the driver produced (driver/tests/vectors_test.c), decoded by Python."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from pointsman.wire import abi, guids
from pointsman.wire.abi import AbiError, Endpoints, EventKind, Flag, Reason, State, Verdict
from pointsman.wire.redirect_context import decode_redirect_context, encode_redirect_context

ROOT = Path(__file__).resolve().parents[2]
APP_ID = "\\a.exe".encode("utf-16-le")
BOTH = Endpoints((IPv4Address("127.0.0.1"), 18080), (IPv6Address("::1"), 18080))


def vector(name: str) -> bytes:
    return bytes.fromhex((ROOT / "abi/vectors" / f"{name}.hex").read_text())


def test_version_reply() -> None:
    assert abi.decode_version(vector("version_reply")) == abi.Version(1, "0.1.0")


def test_requests_are_encoded_as_the_driver_expects_them() -> None:
    assert abi.register_request(BOTH, lease_ms=2500) == vector("register_request")
    assert abi.registration_request(1) == vector("registration_request")
    assert abi.events_request(2) == vector("events_request")


def test_register_reply() -> None:
    assert abi.decode_registered(vector("register_reply")) == abi.Registered(1, 2500, 1)


@pytest.mark.parametrize(
    ("name", "destination", "flags"),
    [
        ("redirect_context_v4", (IPv4Address("203.0.113.7"), 443), Flag(0)),
        ("redirect_context_v6", (IPv6Address("2001:db8::7"), 8443), Flag(0)),
        ("redirect_context_mapped", (IPv4Address("203.0.113.7"), 443), Flag.V4_MAPPED),
    ],
)
def test_redirect_contexts(name: str, destination: tuple[abi.Address, int], flags: Flag) -> None:
    context = decode_redirect_context(vector(name))

    assert context.original_destination == destination
    assert context.flags == flags
    assert (context.registration, context.rule_id, context.generation) == (1, abi.RULE_DEFAULT, 1)
    assert (context.pid, context.process_start, context.protocol) == (777, 3333, 6)
    assert context.app_id == APP_ID
    assert encode_redirect_context(context) == vector(name)


def test_status_reply() -> None:
    status = abi.decode_status(vector("status_reply"))

    assert status.state == State.PROCESS_NOTIFY | State.REDIRECT_HANDLE | State.CALLOUTS | State.OBJECTS
    assert (status.active_registration, status.generation) == (1, 1)
    assert status.registrations == (abi.RegistrationStatus(1, 4242, 1111, 2500, 1500, BOTH),)
    assert status.counters[Reason.REDIRECTED] == 3
    assert status.counters[Reason.BLOCKED_BY_RULE] == 1
    assert status.counters[abi.Counter.REGISTERED] == 1


def test_events_reply() -> None:
    reply = abi.decode_events(vector("events_reply"))
    flows = [event for event in reply.events if event.kind is EventKind.FLOW]

    assert reply.lost == 0
    assert [event.sequence for event in reply.events] == list(range(2, reply.next_sequence))
    assert reply.events[0].kind is EventKind.PROCESS_STARTED
    assert [event.verdict for event in flows] == [Verdict.REDIRECT] * 3 + [Verdict.PASS, Verdict.BLOCK]
    assert flows[3].reason is Reason.PRIVATE_DESTINATION
    assert flows[4].remote == (IPv4Address("10.1.2.3"), 80)
    assert flows[4].rule_id == 9
    assert flows[4].app_id == APP_ID


@pytest.mark.parametrize("name", ["register_reply", "status_reply", "events_reply"])
def test_another_version_or_size_is_refused(name: str) -> None:
    decode = {
        "register_reply": abi.decode_registered, "status_reply": abi.decode_status, "events_reply": abi.decode_events,
    }[name]  # fmt: skip
    good = vector(name)

    with pytest.raises(AbiError, match="version 2"):
        decode(good[:4] + b"\2" + good[5:])
    with pytest.raises(AbiError):
        decode(good[:-1])
    with pytest.raises(AbiError):
        decode(b"")


@pytest.mark.parametrize("cut", [0, 1, 87, 511, 513])
def test_a_context_of_another_size_is_somebody_elses(cut: int) -> None:
    data = (vector("redirect_context_v4") + b"\0")[:cut]

    with pytest.raises(AbiError):
        decode_redirect_context(data)


def test_guids_are_the_same_in_c_and_in_python() -> None:
    header = (ROOT / "abi/pointsman_guids.h").read_text()

    for name in ("PROVIDER", "SUBLAYER", "CALLOUT_CONNECT_REDIRECT_V4", "CALLOUT_CONNECT_REDIRECT_V6",
                 "CALLOUT_AUTH_CONNECT_V4", "CALLOUT_AUTH_CONNECT_V6"):  # fmt: skip
        value = getattr(guids, name)
        start = f"PM_{name}, 0x{value.time_low:08x}, 0x{value.time_mid:04x}, 0x{value.time_hi_version:04x}, "
        assert start + ", ".join(f"0x{byte:02x}" for byte in value.bytes[8:]) + ");" in header


def test_every_number_of_the_header_is_the_same_in_python() -> None:
    header = (ROOT / "abi/pointsman_abi.h").read_text()

    for reason in Reason:
        assert f"PM_REASON_{reason.name} = {reason.value}," in header
    for counter in abi.Counter:
        assert f"PM_COUNTER_{counter.name} = {counter.value}," in header
    for kind in EventKind:
        assert f"PM_EVENT_{kind.name} = {kind.value}," in header
    assert set(abi.REASON_TEXT) == set(Reason)
