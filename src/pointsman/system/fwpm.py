"""`wire.filters.Filter` as the structures that FwpmFilterAdd0 takes (fwpmtypes.h), for fwpuclnt.dll and simwfp alike.

Only layouts and conversions; no library is called here.  Integers have fixed sizes (never `ctypes.c_ulong`, whose size
differs between systems), so that the same test proves the layouts on Linux and on Windows.
"""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import assert_never

from pointsman.wire import guids
from pointsman.wire.filters import Condition, Field, Filter, Layer

FWPM_SESSION_FLAG_DYNAMIC = 1
FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED = 0x10
FWP_ACTION_CALLOUT_UNKNOWN = 0x4005
FWP_UINT8, FWP_UINT16, FWP_UINT32, FWP_UINT64 = 1, 2, 3, 4
FWP_SECURITY_DESCRIPTOR_TYPE = 14
FWP_BYTE_BLOB_TYPE, FWP_V4_ADDR_MASK, FWP_V6_ADDR_MASK, FWP_RANGE_TYPE = 12, 0x100, 0x101, 0x102
FWP_MATCH_EQUAL, FWP_MATCH_RANGE, FWP_MATCH_FLAGS_NONE_SET = 0, 5, 8


class GUID(ctypes.Structure):
    _fields_ = [("bytes_le", ctypes.c_uint8 * 16)]


class FWP_BYTE_BLOB(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint32), ("data", ctypes.c_void_p)]


class FWP_V4_ADDR_AND_MASK(ctypes.Structure):
    _fields_ = [("addr", ctypes.c_uint32), ("mask", ctypes.c_uint32)]


class FWP_V6_ADDR_AND_MASK(ctypes.Structure):
    _fields_ = [("addr", ctypes.c_uint8 * 16), ("prefixLength", ctypes.c_uint8)]


class _Union(ctypes.Union):
    _fields_ = [
        ("uint8", ctypes.c_uint8),
        ("uint16", ctypes.c_uint16),
        ("uint32", ctypes.c_uint32),
        ("pointer", ctypes.c_void_p),
    ]


class FWP_VALUE0(ctypes.Structure):
    """Also FWP_CONDITION_VALUE0, which has the same layout."""

    _anonymous_ = ("u1",)
    _fields_ = [("type", ctypes.c_uint32), ("u1", _Union)]


class FWP_RANGE0(ctypes.Structure):
    _fields_ = [("valueLow", FWP_VALUE0), ("valueHigh", FWP_VALUE0)]


class FWPM_DISPLAY_DATA0(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("description", ctypes.c_void_p)]


class FWPM_SESSION0(ctypes.Structure):
    _fields_ = [
        ("sessionKey", GUID),
        ("displayData", FWPM_DISPLAY_DATA0),
        ("flags", ctypes.c_uint32),
        ("txnWaitTimeoutInMSec", ctypes.c_uint32),
        ("processId", ctypes.c_uint32),
        ("sid", ctypes.c_void_p),
        ("username", ctypes.c_void_p),
        ("kernelMode", ctypes.c_int32),
    ]


class FWPM_PROVIDER0(ctypes.Structure):
    _fields_ = [
        ("providerKey", GUID),
        ("displayData", FWPM_DISPLAY_DATA0),
        ("flags", ctypes.c_uint32),
        ("providerData", FWP_BYTE_BLOB),
        ("serviceName", ctypes.c_void_p),
    ]


class FWPM_SUBLAYER0(ctypes.Structure):
    _fields_ = [
        ("subLayerKey", GUID),
        ("displayData", FWPM_DISPLAY_DATA0),
        ("flags", ctypes.c_uint32),
        ("providerKey", ctypes.c_void_p),
        ("providerData", FWP_BYTE_BLOB),
        ("weight", ctypes.c_uint16),
    ]


class FWPM_FILTER_CONDITION0(ctypes.Structure):
    _fields_ = [("fieldKey", GUID), ("matchType", ctypes.c_uint32), ("conditionValue", FWP_VALUE0)]


class FWPM_ACTION0(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint32), ("calloutKey", GUID)]


class _FilterContext(ctypes.Union):
    _fields_ = [("rawContext", ctypes.c_uint64), ("providerContextKey", GUID)]


class FWPM_FILTER0(ctypes.Structure):
    _anonymous_ = ("u1",)
    _fields_ = [
        ("filterKey", GUID),
        ("displayData", FWPM_DISPLAY_DATA0),
        ("flags", ctypes.c_uint32),
        ("providerKey", ctypes.c_void_p),
        ("providerData", FWP_BYTE_BLOB),
        ("layerKey", GUID),
        ("subLayerKey", GUID),
        ("weight", FWP_VALUE0),
        ("numFilterConditions", ctypes.c_uint32),
        ("filterCondition", ctypes.c_void_p),
        ("action", FWPM_ACTION0),
        ("u1", _FilterContext),
        ("reserved", ctypes.c_void_p),
        ("filterId", ctypes.c_uint64),
        ("effectiveWeight", FWP_VALUE0),
    ]


_LAYER_KEYS = {
    Layer.CONNECT_REDIRECT_V4: (guids.LAYER_CONNECT_REDIRECT_V4, guids.CALLOUT_CONNECT_REDIRECT_V4),
    Layer.CONNECT_REDIRECT_V6: (guids.LAYER_CONNECT_REDIRECT_V6, guids.CALLOUT_CONNECT_REDIRECT_V6),
    Layer.AUTH_CONNECT_V4: (guids.LAYER_AUTH_CONNECT_V4, guids.CALLOUT_AUTH_CONNECT_V4),
    Layer.AUTH_CONNECT_V6: (guids.LAYER_AUTH_CONNECT_V6, guids.CALLOUT_AUTH_CONNECT_V6),
}

_FIELD_KEYS = {
    Field.APP_ID: guids.CONDITION_ALE_APP_ID,
    Field.PROTOCOL: guids.CONDITION_IP_PROTOCOL,
    Field.REMOTE_ADDRESS: guids.CONDITION_IP_REMOTE_ADDRESS,
    Field.REMOTE_PORT: guids.CONDITION_IP_REMOTE_PORT,
    Field.USER_ID: guids.CONDITION_ALE_USER_ID,
    Field.FLAGS: guids.CONDITION_FLAGS,
}

_INTEGER_TYPES = {
    Field.PROTOCOL: (FWP_UINT8, "uint8"),
    Field.REMOTE_PORT: (FWP_UINT16, "uint16"),
    Field.FLAGS: (FWP_UINT32, "uint32"),
}
_BLOB_TYPES = {Field.APP_ID: FWP_BYTE_BLOB_TYPE, Field.USER_ID: FWP_SECURITY_DESCRIPTOR_TYPE}


@dataclass(frozen=True, slots=True)
class BuiltFilter:
    """The structure, and everything its pointers refer to: keep both until the call has returned."""

    filter: FWPM_FILTER0
    owned: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class BuiltSession:
    session: FWPM_SESSION0
    owned: tuple[object, ...]


def dynamic_session(name: str, timeout_ms: int = 5000) -> BuiltSession:
    """A session whose objects vanish with it.  The time-out shows a stuck product as an error, not as a hang."""
    return _session(name, FWPM_SESSION_FLAG_DYNAMIC, timeout_ms)


def static_session(name: str, timeout_ms: int = 5000) -> BuiltSession:
    """A session whose objects stay."""
    return _session(name, 0, timeout_ms)


def _session(name: str, flags: int, timeout_ms: int) -> BuiltSession:
    text = wide(name)
    session = FWPM_SESSION0(flags=flags, txnWaitTimeoutInMSec=timeout_ms)
    session.displayData.name = ctypes.addressof(text)
    return BuiltSession(session, (text,))


def build_filter(item: Filter) -> BuiltFilter:
    """Raises ValueError for a condition whose value does not fit its field: a bug of the policy compiler."""
    layer_key, callout_key = _LAYER_KEYS[item.layer]
    name = wide(item.name)
    weight = ctypes.c_uint64(item.weight)
    provider = guid_of(guids.PROVIDER)
    owned: list[object] = [name, weight, provider]
    conditions = built_conditions(item.conditions, owned)

    built = FWPM_FILTER0(
        # A filter whose callout is gone must never block: fail open.
        flags=FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
        providerKey=ctypes.addressof(provider),
        layerKey=guid_of(layer_key),
        subLayerKey=guid_of(guids.SUBLAYER),
        numFilterConditions=len(item.conditions),
        filterCondition=ctypes.addressof(conditions) if item.conditions else None,
        action=FWPM_ACTION0(FWP_ACTION_CALLOUT_UNKNOWN, guid_of(callout_key)),
    )
    built.displayData.name = ctypes.addressof(name)
    built.weight.type = FWP_UINT64
    built.weight.pointer = ctypes.addressof(weight)
    built.rawContext = item.context
    owned.append(conditions)
    return BuiltFilter(built, tuple(owned))


def built_conditions(conditions: Sequence[Condition], owned: list[object]) -> ctypes.Array[FWPM_FILTER_CONDITION0]:
    array = (FWPM_FILTER_CONDITION0 * len(conditions))()
    for target, condition in zip(array, conditions, strict=True):
        target.fieldKey = guid_of(_FIELD_KEYS[condition.field])
        target.matchType = FWP_MATCH_RANGE if isinstance(condition.value, tuple) else FWP_MATCH_EQUAL
        if condition.field is Field.FLAGS:
            target.matchType = FWP_MATCH_FLAGS_NONE_SET
        _set_value(target.conditionValue, condition, owned)
    return array


def _set_value(target: FWP_VALUE0, condition: Condition, owned: list[object]) -> None:
    match condition.value:
        case bytes() as blob:
            if condition.field not in _BLOB_TYPES:
                raise ValueError(f"{condition.field} takes no bytes")
            data = (ctypes.c_uint8 * len(blob)).from_buffer_copy(blob)
            _point(target, _BLOB_TYPES[condition.field], FWP_BYTE_BLOB(len(blob), ctypes.addressof(data)), owned)
            owned.append(data)
        case int() as number:
            _set_integer(target, condition.field, number)
        case (int() as low, int() as high):
            limits = FWP_RANGE0()
            _set_integer(limits.valueLow, condition.field, low)
            _set_integer(limits.valueHigh, condition.field, high)
            _point(target, FWP_RANGE_TYPE, limits, owned)
        case IPv4Network() as network:  # host byte order, as WFP has it
            v4 = FWP_V4_ADDR_AND_MASK(int(network.network_address), int(network.netmask))
            _point(target, FWP_V4_ADDR_MASK, v4, owned)
        case IPv6Network() as network:  # network byte order
            address = (ctypes.c_uint8 * 16).from_buffer_copy(network.network_address.packed)
            _point(target, FWP_V6_ADDR_MASK, FWP_V6_ADDR_AND_MASK(address, network.prefixlen), owned)
        case _:
            assert_never(condition.value)


def _set_integer(target: FWP_VALUE0, field: Field, number: int) -> None:
    if field not in _INTEGER_TYPES:
        raise ValueError(f"{field} takes no integer")
    target.type, member = _INTEGER_TYPES[field]
    setattr(target, member, number)


def _point(target: FWP_VALUE0, value_type: int, value: ctypes.Structure, owned: list[object]) -> None:
    owned.append(value)
    target.type = value_type
    target.pointer = ctypes.addressof(value)


def guid_of(value: uuid.UUID) -> GUID:
    return GUID.from_buffer_copy(value.bytes_le)


def wide(text: str) -> ctypes.Array[ctypes.c_uint16]:
    """UTF-16 with terminator: `ctypes.c_wchar` would be UTF-32 on Linux."""
    encoded = (text + "\0").encode("utf-16-le")
    return (ctypes.c_uint16 * (len(encoded) // 2)).from_buffer_copy(encoded)
