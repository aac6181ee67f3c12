"""The contract with the driver, as Python values: `abi/pointsman_abi.h` in `struct` notation.

Pure bytes ⇄ values.  Sizes and golden bytes are tested against `abi/vectors/`, which the C tests read too.  All
integers are little-endian; ports and addresses come out as host integers and `ipaddress` values.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address

ABI_VERSION = 1
DEVICE_PATH = r"\\.\Pointsman"
MAX_REGISTRATIONS = 4
APP_ID_MAX = 416  # bytes
LEASE_MIN_MS, LEASE_MAX_MS, LEASE_DEFAULT_MS = 500, 60_000, 3_000
EVENT_BATCH = 32
RULE_DEFAULT = 0x0FFF_FFFF
"""Rule id of the policy's default."""

Address = IPv4Address | IPv6Address


class Ioctl(IntEnum):
    """CTL_CODE(FILE_DEVICE_NETWORK, function, METHOD_BUFFERED, access)."""

    QUERY_VERSION = 0x12 << 16 | 1 << 14 | 0x800 << 2
    REGISTER = 0x12 << 16 | 3 << 14 | 0x801 << 2
    RENEW = 0x12 << 16 | 3 << 14 | 0x802 << 2
    WITHDRAW = 0x12 << 16 | 3 << 14 | 0x803 << 2
    STATUS = 0x12 << 16 | 1 << 14 | 0x804 << 2
    READ_EVENTS = 0x12 << 16 | 1 << 14 | 0x805 << 2


class Verdict(IntEnum):
    PASS = 0
    REDIRECT = 1
    BLOCK = 2


class Reason(IntEnum):
    """Why the driver decided so; see `pm_reason`.  The text for people is `REASON_TEXT`."""

    NONE = 0
    REDIRECTED = 1
    BLOCKED_BY_RULE = 2
    PASSED_BY_RULE = 3
    NO_PROXY = 4
    LEASE_OVER = 5
    INACTIVE_REGISTRATION = 6
    OWN_PROCESS = 7
    ALREADY_REDIRECTED = 8
    OTHER_REDIRECTOR = 9
    NO_ENDPOINT = 10
    LOOPBACK_DESTINATION = 11
    PRIVATE_DESTINATION = 12
    NOT_UNICAST = 13
    NOT_TCP = 14
    SYSTEM_PROCESS = 15
    UNKNOWN_PROCESS = 16
    LOCAL_BINDING = 17
    OTHER_COMPARTMENT = 18
    RAW_ENDPOINT = 19
    REAUTHORIZATION = 20
    UNEXPECTED_FIELD = 21
    NO_WRITE_RIGHT = 22
    NO_REDIRECT_HANDLE = 23
    OUT_OF_MEMORY = 24
    WFP_CALL_FAILED = 25
    REDIRECT_AUTHORIZED = 26
    UNKNOWN_FILTER = 27


REASON_TEXT: dict[Reason, str] = {
    Reason.NONE: "no verdict",
    Reason.REDIRECTED: "redirected to the proxy",
    Reason.BLOCKED_BY_RULE: "blocked by a rule",
    Reason.PASSED_BY_RULE: "direct by a rule",
    Reason.NO_PROXY: "no proxy is registered",
    Reason.LEASE_OVER: "the proxy does not renew its lease",
    Reason.INACTIVE_REGISTRATION: "the filter belongs to an instance that is not active",
    Reason.OWN_PROCESS: "the proxy's own connection",
    Reason.ALREADY_REDIRECTED: "carries our redirect records",
    Reason.OTHER_REDIRECTOR: "another product redirected it to a local proxy",
    Reason.NO_ENDPOINT: "the proxy has no endpoint for this address family",
    Reason.LOOPBACK_DESTINATION: "loopback destination",
    Reason.PRIVATE_DESTINATION: "private destination",
    Reason.NOT_UNICAST: "not a unicast destination",
    Reason.NOT_TCP: "not TCP",
    Reason.SYSTEM_PROCESS: "the system's own connection",
    Reason.UNKNOWN_PROCESS: "WFP named no process",
    Reason.LOCAL_BINDING: "bound to an address that cannot reach the proxy",
    Reason.OTHER_COMPARTMENT: "another network compartment",
    Reason.RAW_ENDPOINT: "raw socket",
    Reason.REAUTHORIZATION: "reauthorization of an old connection",
    Reason.UNEXPECTED_FIELD: "WFP gave a field of an unexpected type",
    Reason.NO_WRITE_RIGHT: "another callout has decided",
    Reason.NO_REDIRECT_HANDLE: "the driver has no redirect handle",
    Reason.OUT_OF_MEMORY: "out of memory",
    Reason.WFP_CALL_FAILED: "a WFP call failed",
    Reason.REDIRECT_AUTHORIZED: "a redirected connection was authorized",
    Reason.UNKNOWN_FILTER: "unknown filter context",
}


class Counter(IntEnum):
    """Indices after the reasons in `Status.counters`."""

    REGISTERED = 28
    RENEWED = 29
    WITHDRAWN = 30
    OWNER_EXITED = 31
    OWNER_CLOSED = 32
    REFUSED = 33


COUNTER_COUNT = 40


class State(IntFlag):
    PROCESS_NOTIFY = 1
    REDIRECT_HANDLE = 2
    CALLOUTS = 4
    OBJECTS = 8


class EventKind(IntEnum):
    FLOW = 1
    REGISTERED = 2
    WITHDRAWN = 3
    OWNER_EXITED = 4
    OWNER_CLOSED = 5
    PROCESS_STARTED = 6


class Flag(IntFlag):
    V4_MAPPED = 1
    APP_ID_TRUNCATED = 2


class AbiError(ValueError):
    """Bytes that do not follow the contract: another version, a wrong size, a value out of range."""


_HEADER = struct.Struct("<II")
_VERSION = struct.Struct("<IIII")
_ENDPOINTS = struct.Struct("<4sHH16s")
_REGISTER = struct.Struct("<IIII24sII")
_REGISTERED = struct.Struct("<IIIIQ")
_REGISTRATION = struct.Struct("<IIII")
_SLOT = struct.Struct("<IIQII24s16x")
_STATUS = struct.Struct("<IIIIQQIIII")
_EVENTS_REQUEST = struct.Struct("<IIQ")
_EVENTS = struct.Struct("<IIQQII")
_EVENT = struct.Struct("<QQIIIIQIIBBHHH16sIIH6x416s8x")

VERSION_SIZE = _VERSION.size
REGISTERED_SIZE = _REGISTERED.size
STATUS_SIZE = _STATUS.size + MAX_REGISTRATIONS * _SLOT.size + 8 * COUNTER_COUNT
EVENTS_SIZE = _EVENTS.size + EVENT_BATCH * _EVENT.size


def filter_context(registration: int, verdict: Verdict, rule_id: int) -> int:
    """The raw context of one of our WFP filters (PM_FILTER_* in the header)."""
    if not 0 <= rule_id <= RULE_DEFAULT:
        raise ValueError(f"rule id {rule_id} does not fit into 28 bits")
    return registration << 32 | verdict << 28 | rule_id


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the proxy listens: a port each on 127.0.0.1 and ::1; None where it does not."""

    v4: tuple[IPv4Address, int] | None = None
    v6: tuple[IPv6Address, int] | None = None

    def encode(self) -> bytes:
        v4, v4_port = self.v4 or (IPv4Address(0), 0)
        v6, v6_port = self.v6 or (IPv6Address(0), 0)
        return _ENDPOINTS.pack(v4.packed, v4_port, v6_port, v6.packed)

    @classmethod
    def decode(cls, data: bytes) -> Endpoints:
        v4, v4_port, v6_port, v6 = _ENDPOINTS.unpack(data)
        return cls(
            v4=(IPv4Address(v4), v4_port) if v4_port else None,
            v6=(IPv6Address(v6), v6_port) if v6_port else None,
        )


def register_request(endpoints: Endpoints, *, lease_ms: int = 0, pid: int = 0) -> bytes:
    return _REGISTER.pack(_REGISTER.size, ABI_VERSION, lease_ms, pid, endpoints.encode(), 0, 0)


def registration_request(registration: int) -> bytes:
    """For RENEW and WITHDRAW."""
    return _REGISTRATION.pack(_REGISTRATION.size, ABI_VERSION, registration, 0)


def events_request(from_sequence: int) -> bytes:
    return _EVENTS_REQUEST.pack(_EVENTS_REQUEST.size, ABI_VERSION, from_sequence)


@dataclass(frozen=True, slots=True)
class Version:
    abi: int
    driver: str
    """As `major.minor.patch`."""


def decode_version(data: bytes) -> Version:
    """Never refuses another ABI version: telling it is what QUERY_VERSION is for."""
    if len(data) != _VERSION.size:
        raise AbiError(f"a version reply has {_VERSION.size} bytes, not {len(data)}")
    _, abi, driver, _ = _VERSION.unpack(data)
    return Version(abi, f"{driver >> 24}.{driver >> 16 & 0xFF}.{driver & 0xFFFF}")


@dataclass(frozen=True, slots=True)
class Registered:
    registration: int
    lease_ms: int
    generation: int


def decode_registered(data: bytes) -> Registered:
    _check(data, _REGISTERED.size, "register reply")
    _, _, registration, lease_ms, generation = _REGISTERED.unpack(data)
    return Registered(registration, lease_ms, generation)


@dataclass(frozen=True, slots=True)
class RegistrationStatus:
    registration: int
    pid: int
    process_start: int
    lease_ms: int
    lease_left_ms: int
    endpoints: Endpoints


@dataclass(frozen=True, slots=True)
class Status:
    active_registration: int
    state: State
    generation: int
    events_written: int
    notify_status: int
    redirect_status: int
    callout_status: int
    object_status: int
    registrations: tuple[RegistrationStatus, ...]
    """Live ones only, newest first."""
    counters: tuple[int, ...]


def decode_status(data: bytes) -> Status:
    _check(data, STATUS_SIZE, "status reply")
    _, _, active, state, generation, written, notify, redirect, callout, objects = _STATUS.unpack_from(data)
    registrations = []
    for index in range(MAX_REGISTRATIONS):
        number, pid, start, lease_ms, left_ms, endpoints = _SLOT.unpack_from(data, _STATUS.size + index * _SLOT.size)
        if number:
            registrations.append(RegistrationStatus(number, pid, start, lease_ms, left_ms, Endpoints.decode(endpoints)))
    counters = struct.unpack_from(f"<{COUNTER_COUNT}Q", data, _STATUS.size + MAX_REGISTRATIONS * _SLOT.size)
    return Status(
        active, State(state), generation, written, notify, redirect, callout, objects, tuple(registrations), counters
    )


@dataclass(frozen=True, slots=True)
class Event:
    sequence: int
    time: int
    kind: EventKind
    verdict: Verdict
    reason: Reason
    pid: int
    process_start: int
    registration: int
    rule_id: int
    remote: tuple[Address, int] | None
    protocol: int
    layer: int
    flags: Flag
    parent_pid: int
    status: int
    app_id: bytes


@dataclass(frozen=True, slots=True)
class Events:
    next_sequence: int
    lost: int
    events: tuple[Event, ...]


def decode_events(data: bytes) -> Events:
    if len(data) < _EVENTS.size:
        raise AbiError(f"an events reply has at least {_EVENTS.size} bytes, not {len(data)}")
    _, _, next_sequence, lost, count, _ = _EVENTS.unpack_from(data)
    _check(data, _EVENTS.size + count * _EVENT.size, "events reply")
    events = (decode_event(data[start : start + _EVENT.size]) for start in range(_EVENTS.size, len(data), _EVENT.size))
    return Events(next_sequence, lost, tuple(events))


def decode_event(data: bytes) -> Event:
    (
        sequence, time, kind, verdict, reason, pid, process_start, registration, rule_id,
        family, protocol, port, layer, flags, address, parent, status, app_id_size, app_id,
    ) = _EVENT.unpack(data)  # fmt: skip
    try:
        return Event(
            sequence, time, EventKind(kind), Verdict(verdict), Reason(reason), pid, process_start, registration,
            rule_id, _remote(family, address, port), protocol, layer, Flag(flags), parent, status,
            app_id[:app_id_size],
        )  # fmt: skip
    except ValueError as error:
        raise AbiError(f"event {sequence}: {error}") from error


def _remote(family: int, address: bytes, port: int) -> tuple[Address, int] | None:
    match family:
        case 0:
            return None
        case 4:
            return IPv4Address(address[:4]), port
        case 6:
            return IPv6Address(address), port
    raise AbiError(f"address family {family} is neither 4 nor 6")


def _check(data: bytes, size: int, what: str) -> None:
    if len(data) != size:
        raise AbiError(f"a {what} has {size} bytes, not {len(data)}")
    stated, version = _HEADER.unpack_from(data)
    if version != ABI_VERSION:
        raise AbiError(f"{what}: ABI version {version}, not {ABI_VERSION}")
    if stated != size:
        raise AbiError(f"{what}: says it has {stated} bytes, has {size}")
