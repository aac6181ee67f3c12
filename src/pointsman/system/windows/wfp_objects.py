"""WFP's objects looked up by key: implements `system.host.WfpObjects`.  Reads only, and never in our dynamic session.

What a missing function of fwpuclnt.dll means (Wine has few) is "cannot be asked", not "not there".
"""

from __future__ import annotations

import contextlib
import ctypes
import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar

from pointsman.system.fwpm import FWP_VALUE0, FWPM_DISPLAY_DATA0, FWPM_FILTER0, FWPM_SUBLAYER0, GUID, guid_of
from pointsman.system.host import Callout, InstalledFilter, Sublayer
from pointsman.system.windows import _fwpuclnt as fwp
from pointsman.system.windows._library import Function, Win32Error, code_text
from pointsman.wire import guids

Found = TypeVar("Found")
NOT_FOUND = {
    0x8032_0001,  # FWP_E_CALLOUT_NOT_FOUND
    0x8032_0005,  # FWP_E_PROVIDER_NOT_FOUND
    0x8032_0007,  # FWP_E_SUBLAYER_NOT_FOUND
}
PAGE = 100
MAX_PAGES = 1000  # a hundred thousand objects: a machine has a few hundred
LAYERS = (
    guids.LAYER_CONNECT_REDIRECT_V4,
    guids.LAYER_CONNECT_REDIRECT_V6,
    guids.LAYER_AUTH_CONNECT_V4,
    guids.LAYER_AUTH_CONNECT_V6,
)
COLLECT_NET_EVENTS = 0  # FWPM_ENGINE_COLLECT_NET_EVENTS
ACTION_FLAG_CALLOUT = 0x4000
PERMIT_IF_CALLOUT_UNREGISTERED = 0x10
EVERY_ACTION = 0xFFFF_FFFF
CALLOUT_REGISTERED = 0x4_0000  # FWPM_CALLOUT_FLAG_REGISTERED


class FWPM_CALLOUT0(ctypes.Structure):
    _fields_ = [
        ("calloutKey", GUID),
        ("displayData", FWPM_DISPLAY_DATA0),
        ("flags", ctypes.c_uint32),
        ("providerKey", ctypes.c_void_p),
        ("providerData", ctypes.c_uint64 * 2),
        ("applicableLayer", GUID),
        ("calloutId", ctypes.c_uint32),
    ]


class FWPM_FILTER_ENUM_TEMPLATE0(ctypes.Structure):
    _fields_ = [
        ("providerKey", ctypes.c_void_p),
        ("layerKey", GUID),
        ("enumType", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("providerContextTemplate", ctypes.c_void_p),
        ("numFilterConditions", ctypes.c_uint32),
        ("filterCondition", ctypes.c_void_p),
        ("actionMask", ctypes.c_uint32),
        ("calloutKey", ctypes.c_void_p),
    ]


class WindowsWfpObjects:
    def __init__(self) -> None:
        """Raises OSError: the engine's error."""
        engine = ctypes.c_void_p()
        with _as_os_error():
            fwp.FwpmEngineOpen0(None, fwp.RPC_C_AUTHN_WINNT, None, None, ctypes.byref(engine))
        self._engine: int | None = engine.value

    def has_provider(self, key: uuid.UUID) -> bool:
        return self._exists(fwp.FwpmProviderGetByKey0, key)

    def has_sublayer(self, key: uuid.UUID) -> bool:
        return self._exists(fwp.FwpmSubLayerGetByKey0, key)

    def callout(self, key: uuid.UUID) -> Callout | None:
        return self._look_up(fwp.FwpmCalloutGetByKey0, key)

    def callouts(self) -> list[Callout]:
        return self._enumerate(
            (fwp.FwpmCalloutCreateEnumHandle0, fwp.FwpmCalloutEnum0, fwp.FwpmCalloutDestroyEnumHandle0), None, _callout
        )

    def filters(self) -> list[InstalledFilter]:
        functions = (fwp.FwpmFilterCreateEnumHandle0, fwp.FwpmFilterEnum0, fwp.FwpmFilterDestroyEnumHandle0)
        found: list[InstalledFilter] = []
        for layer in LAYERS:
            template = FWPM_FILTER_ENUM_TEMPLATE0(layerKey=guid_of(layer), actionMask=EVERY_ACTION)
            found += self._enumerate(functions, template, _filter)
        return found

    def sublayers(self) -> list[Sublayer]:
        return self._enumerate(
            (fwp.FwpmSubLayerCreateEnumHandle0, fwp.FwpmSubLayerEnum0, fwp.FwpmSubLayerDestroyEnumHandle0),
            None, _sublayer,
        )  # fmt: skip

    def collects_net_events(self) -> bool:
        value = ctypes.c_void_p()
        with _as_os_error():
            fwp.FwpmEngineGetOption0(self._engine, COLLECT_NET_EVENTS, ctypes.byref(value))
        assert value.value is not None
        try:
            return bool(FWP_VALUE0.from_address(value.value).uint32)
        finally:
            fwp.FwpmFreeMemory0(ctypes.byref(value))

    def _enumerate(
        self, functions: tuple[Function, Function, Function], template: ctypes.Structure | None,
        copied: Callable[[int], Found],
    ) -> list[Found]:  # fmt: skip
        create, following, destroy = functions
        handle = ctypes.c_void_p()
        found: list[Found] = []
        with _as_os_error():
            create(self._engine, None if template is None else ctypes.byref(template), ctypes.byref(handle))
            try:
                for _ in range(MAX_PAGES):
                    page = self._page(following, handle, copied)
                    if not page:
                        break
                    found += page
            finally:
                destroy(self._engine, handle)
        return found

    def _page(self, following: Function, handle: ctypes.c_void_p, copied: Callable[[int], Found]) -> list[Found]:
        entries, count = ctypes.c_void_p(), ctypes.c_uint32()
        following(self._engine, handle, PAGE, ctypes.byref(entries), ctypes.byref(count))
        if entries.value is None:
            return []
        try:
            array = (ctypes.c_void_p * count.value).from_address(entries.value)
            return [copied(address) for address in array if address is not None]
        finally:
            fwp.FwpmFreeMemory0(ctypes.byref(entries))

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            with contextlib.suppress(Win32Error):  # the handle goes with the process at the latest
                fwp.FwpmEngineClose0(engine)

    def _look_up(self, function: Function, key: uuid.UUID) -> Callout | None:
        found = ctypes.c_void_p()
        if not self._found(function, key, found):
            return None
        assert found.value is not None
        try:
            return _callout(found.value)
        finally:
            fwp.FwpmFreeMemory0(ctypes.byref(found))

    def _exists(self, function: Function, key: uuid.UUID) -> bool:
        found = ctypes.c_void_p()
        if not self._found(function, key, found):
            return False
        fwp.FwpmFreeMemory0(ctypes.byref(found))
        return True

    def _found(self, function: Function, key: uuid.UUID, found: ctypes.c_void_p) -> bool:
        wanted = GUID.from_buffer_copy(key.bytes_le)
        with _as_os_error():
            try:
                function(self._engine, ctypes.byref(wanted), ctypes.byref(found))
            except Win32Error as error:
                if error.code in NOT_FOUND:
                    return False
                raise
        return True


def _callout(address: int) -> Callout:
    """A copy: the engine's memory is freed after it."""
    found = FWPM_CALLOUT0.from_address(address)
    return Callout(
        _uuid(found.calloutKey),
        _name(found.displayData),
        _uuid(found.applicableLayer),
        _provider(found.providerKey),
        bool(found.flags & CALLOUT_REGISTERED),
    )


def _filter(address: int) -> InstalledFilter:
    found = FWPM_FILTER0.from_address(address)
    return InstalledFilter(
        _name(found.displayData),
        _uuid(found.layerKey),
        _uuid(found.subLayerKey),
        _provider(found.providerKey),
        _uuid(found.action.calloutKey) if found.action.type & ACTION_FLAG_CALLOUT else None,
        found.rawContext,
        bool(found.flags & PERMIT_IF_CALLOUT_UNREGISTERED),
    )


def _sublayer(address: int) -> Sublayer:
    found = FWPM_SUBLAYER0.from_address(address)
    return Sublayer(_uuid(found.subLayerKey), _name(found.displayData), found.weight)


def _uuid(key: GUID) -> uuid.UUID:
    return uuid.UUID(bytes_le=bytes(key))


def _name(shown: FWPM_DISPLAY_DATA0) -> str:
    return ctypes.wstring_at(shown.name) if shown.name else ""


def _provider(key: int | None) -> uuid.UUID | None:
    return uuid.UUID(bytes_le=ctypes.string_at(key, 16)) if key else None


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except Win32Error as error:
        raise OSError(error.code, f"{error.call}: Windows error {code_text(error.code)}") from error
    except AttributeError as error:  # ctypes: this fwpuclnt.dll has no such function
        raise OSError(0, str(error)) from error
