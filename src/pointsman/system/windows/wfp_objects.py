"""WFP's objects looked up by key: implements `system.host.WfpObjects`.  Reads only, and never in our dynamic session.

What a missing function of fwpuclnt.dll means (Wine has few) is "cannot be asked", not "not there".
"""

from __future__ import annotations

import contextlib
import ctypes
import uuid
from collections.abc import Iterator

from pointsman.system.fwpm import FWPM_DISPLAY_DATA0, GUID
from pointsman.system.host import Callout
from pointsman.system.windows import _fwpuclnt as fwp
from pointsman.system.windows._library import Function, Win32Error, code_text

NOT_FOUND = {
    0x8032_0001,  # FWP_E_CALLOUT_NOT_FOUND
    0x8032_0005,  # FWP_E_PROVIDER_NOT_FOUND
    0x8032_0007,  # FWP_E_SUBLAYER_NOT_FOUND
}
PAGE = 100
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
        handle = ctypes.c_void_p()
        found: list[Callout] = []
        with _as_os_error():
            fwp.FwpmCalloutCreateEnumHandle0(self._engine, None, ctypes.byref(handle))
            try:
                while page := self._page(handle):
                    found += page
            finally:
                fwp.FwpmCalloutDestroyEnumHandle0(self._engine, handle)
        return found

    def _page(self, handle: ctypes.c_void_p) -> list[Callout]:
        entries, count = ctypes.c_void_p(), ctypes.c_uint32()
        fwp.FwpmCalloutEnum0(self._engine, handle, PAGE, ctypes.byref(entries), ctypes.byref(count))
        if entries.value is None:
            return []
        try:
            array = (ctypes.c_void_p * count.value).from_address(entries.value)
            return [_callout(address) for address in array if address is not None]
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
    name = found.displayData.name
    provider = uuid.UUID(bytes_le=ctypes.string_at(found.providerKey, 16)) if found.providerKey else None
    return Callout(
        uuid.UUID(bytes_le=bytes(found.calloutKey)),
        ctypes.wstring_at(name) if name else "",
        uuid.UUID(bytes_le=bytes(found.applicableLayer)),
        provider,
        bool(found.flags & CALLOUT_REGISTERED),
    )


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except Win32Error as error:
        raise OSError(error.code, f"{error.call}: Windows error {code_text(error.code)}") from error
    except AttributeError as error:  # ctypes: this fwpuclnt.dll has no such function
        raise OSError(0, str(error)) from error
