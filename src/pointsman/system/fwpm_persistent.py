"""`wire.filters.NativeFilter` as what FwpmFilterAdd0 takes, with the provider and the sublayer that it belongs to.

Persistent objects may refer to persistent ones of their own provider only (wfp-engine.md 1.6), so nothing of the
driver's serves.  The provider names no service: what does would be left out by the filter engine at the next start.
Each filter has a key of its own, made of its number: that is how it is found again.
"""

from __future__ import annotations

import ctypes

from pointsman.system import fwpm
from pointsman.wire import guids
from pointsman.wire.filters import InstalledFilter, Layer, NativeFilter

PERSISTENT = 1  # FWPM_PROVIDER_FLAG_, FWPM_SUBLAYER_FLAG_ and FWPM_FILTER_FLAG_PERSISTENT (fwpmtypes.h)
FWP_ACTION_BLOCK, FWP_ACTION_PERMIT = 0x1001, 0x1002
FWP_E_FILTER_NOT_FOUND = 0x8032_0003
FWP_E_PROVIDER_NOT_FOUND = 0x8032_0005
FWP_E_SUBLAYER_NOT_FOUND = 0x8032_0007
NOT_FOUND = frozenset((FWP_E_FILTER_NOT_FOUND, FWP_E_PROVIDER_NOT_FOUND, FWP_E_SUBLAYER_NOT_FOUND))
_NAME = "Pointsman: closed on failure"
_LAYERS = {Layer.AUTH_CONNECT_V4: guids.LAYER_AUTH_CONNECT_V4, Layer.AUTH_CONNECT_V6: guids.LAYER_AUTH_CONNECT_V6}
_LAYER_OF_KEY = {key.bytes_le: layer for layer, key in _LAYERS.items()}
_SUBLAYER_WEIGHT = 0x4000
"""Below the driver's: what it passes to the proxy has been decided when these are asked."""


def filter_key(number: int) -> fwpm.GUID:
    """`number`: from 0 to MAX_PERSISTENT - 1."""
    key = bytearray(guids.FILTER_CLOSED.bytes_le)
    key[14:16] = number.to_bytes(2, "big")
    return fwpm.GUID.from_buffer_copy(bytes(key))


def provider_key() -> fwpm.GUID:
    return fwpm.guid_of(guids.PROVIDER_CLOSED)


def sublayer_key() -> fwpm.GUID:
    return fwpm.guid_of(guids.SUBLAYER_CLOSED)


def build_provider() -> tuple[fwpm.FWPM_PROVIDER0, object]:
    """The structure, and what it points at."""
    name = fwpm.wide(_NAME)
    built = fwpm.FWPM_PROVIDER0(providerKey=provider_key(), flags=PERSISTENT)
    built.displayData.name = ctypes.addressof(name)
    return built, name


def build_sublayer() -> tuple[fwpm.FWPM_SUBLAYER0, object]:
    """The structure, and what it points at."""
    name, provider = fwpm.wide(_NAME), provider_key()
    built = fwpm.FWPM_SUBLAYER0(
        subLayerKey=sublayer_key(), flags=PERSISTENT, providerKey=ctypes.addressof(provider), weight=_SUBLAYER_WEIGHT
    )
    built.displayData.name = ctypes.addressof(name)
    return built, (name, provider)


def build_native_filter(item: NativeFilter, number: int) -> fwpm.BuiltFilter:
    """Raises ValueError for a condition that does not fit its field: a bug of the policy compiler."""
    name, weight, provider = fwpm.wide(item.name), ctypes.c_uint64(item.weight), provider_key()
    owned: list[object] = [name, weight, provider]
    conditions = fwpm.built_conditions(item.conditions, owned)
    built = fwpm.FWPM_FILTER0(
        filterKey=filter_key(number),
        flags=PERSISTENT,
        providerKey=ctypes.addressof(provider),
        layerKey=fwpm.guid_of(_LAYERS[item.layer]),
        subLayerKey=sublayer_key(),
        numFilterConditions=len(item.conditions),
        filterCondition=ctypes.addressof(conditions) if item.conditions else None,
        action=fwpm.FWPM_ACTION0(FWP_ACTION_BLOCK if item.blocks else FWP_ACTION_PERMIT),
    )
    built.displayData.name = ctypes.addressof(name)
    built.weight.type = fwpm.FWP_UINT64
    built.weight.pointer = ctypes.addressof(weight)
    owned.append(conditions)
    return fwpm.BuiltFilter(built, tuple(owned))


def read_filter(found: fwpm.FWPM_FILTER0) -> InstalledFilter:
    """What FwpmFilterGetByKey0 gave.  Raises ValueError for a filter at a layer where we have none."""
    layer = _LAYER_OF_KEY.get(bytes(found.layerKey))
    if layer is None:
        raise ValueError("a filter with our key at another layer")
    return InstalledFilter(_read_wide(found.displayData.name), layer, found.action.type == FWP_ACTION_BLOCK)


def _read_wide(address: int | None) -> str:
    """Of a string that ends with NUL; at most 1024 characters."""
    units = bytearray()
    for at in range(1024 if address else 0):
        unit = ctypes.string_at((address or 0) + 2 * at, 2)
        if unit == b"\0\0":
            break
        units += unit
    return units.decode("utf-16-le", "replace")
