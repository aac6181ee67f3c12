"""Filters that stay, by fwpuclnt.dll: implements `system.interface.PersistentFilters`.

A session for each call, and no more kept than what the engine itself knows: whoever installed them may be long gone.
All numbers are tried, so that a filter is found although somebody else has removed its neighbour.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Sequence

from pointsman.system import fwpm
from pointsman.system import fwpm_persistent as persistent
from pointsman.system.interface import DriverError
from pointsman.system.windows import _fwpuclnt as api
from pointsman.system.windows._library import Function, Win32Error
from pointsman.system.windows.filter_engine import cannot_open
from pointsman.wire.filters import MAX_PERSISTENT, InstalledFilter, NativeFilter


class WindowsPersistentFilters:
    def replace(self, filters: Sequence[NativeFilter]) -> None:
        built = [persistent.build_native_filter(item, number) for number, item in enumerate(filters)]
        with _engine() as engine:
            if built or _can_look_up(engine):
                self._replace(engine, built)

    def _replace(self, engine: int | None, built: Sequence[fwpm.BuiltFilter]) -> None:
        with _transaction(engine):
            for number in range(MAX_PERSISTENT):
                _delete(api.FwpmFilterDeleteByKey0, engine, persistent.filter_key(number))
            _delete(api.FwpmSubLayerDeleteByKey0, engine, persistent.sublayer_key())
            _delete(api.FwpmProviderDeleteByKey0, engine, persistent.provider_key())
            if not built:
                return
            provider, _provider_owns = persistent.build_provider()
            sublayer, _sublayer_owns = persistent.build_sublayer()
            api.FwpmProviderAdd0(engine, ctypes.byref(provider), None)
            api.FwpmSubLayerAdd0(engine, ctypes.byref(sublayer), None)
            for item in built:
                api.FwpmFilterAdd0(engine, ctypes.byref(item.filter), None, ctypes.byref(ctypes.c_uint64()))

    def installed(self) -> list[InstalledFilter]:
        with _engine() as engine:
            if not _can_look_up(engine):
                return []
            found = (_get(engine, number) for number in range(MAX_PERSISTENT))
            return [one for one in found if one is not None]


@contextlib.contextmanager
def _engine() -> Iterator[int | None]:
    session = fwpm.static_session("Pointsman: closed on failure")
    engine = ctypes.c_void_p()
    try:
        api.FwpmEngineOpen0(None, api.RPC_C_AUTHN_WINNT, None, ctypes.byref(session.session), ctypes.byref(engine))
    except Win32Error as error:
        raise cannot_open(error.code) from error
    try:
        yield engine.value
    except Win32Error as error:
        raise DriverError(error.call, error.code) from error
    finally:
        with contextlib.suppress(Win32Error):
            api.FwpmEngineClose0(engine.value)


@contextlib.contextmanager
def _transaction(engine: int | None) -> Iterator[None]:
    api.FwpmTransactionBegin0(engine, 0)
    try:
        yield
        api.FwpmTransactionCommit0(engine)
    except Win32Error:
        # The first error is the one to report; an abort that fails leaves nothing committed either.
        with contextlib.suppress(Win32Error):
            api.FwpmTransactionAbort0(engine)
        raise


def _delete(function: Function, engine: int | None, key: fwpm.GUID) -> None:
    try:
        function(engine, ctypes.byref(key))
    except Win32Error as error:
        if error.code not in persistent.NOT_FOUND:
            raise


def _can_look_up(engine: int | None) -> bool:
    """An engine without the function for it (Wine has few) holds no filters of ours either."""
    try:
        _get(engine, 0)
    except AttributeError:  # of ctypes
        return False
    return True


def _get(engine: int | None, number: int) -> InstalledFilter | None:
    pointer = ctypes.POINTER(fwpm.FWPM_FILTER0)()
    try:
        key = persistent.filter_key(number)
        api.FwpmFilterGetByKey0(engine, ctypes.byref(key), ctypes.byref(pointer))
    except Win32Error as error:
        if error.code in persistent.NOT_FOUND:
            return None
        raise
    try:
        return persistent.read_filter(pointer[0])
    except ValueError:
        return None
    finally:
        api.FwpmFreeMemory0(ctypes.byref(pointer))
