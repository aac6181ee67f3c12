"""`WindowsPersistentFilters` on a double of fwpuclnt.dll: one transaction, keys that are found again, nothing left."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from pointsman.errors import PointsmanError
from pointsman.system import fwpm
from pointsman.system import fwpm_persistent as persistent
from pointsman.system.interface import DriverError
from pointsman.system.windows import _fwpuclnt
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.persistent_filters import WindowsPersistentFilters
from pointsman.wire import guids
from pointsman.wire.filters import MAX_PERSISTENT, InstalledFilter, Layer, NativeFilter

PROVIDER, SUBLAYER = guids.PROVIDER_CLOSED.bytes_le, guids.SUBLAYER_CLOSED.bytes_le


class Engine:
    """Objects by key; what a transaction has not committed is not there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.committed: dict[bytes, object] = {}
        self.changed: dict[bytes, object] | None = None
        self.fail: dict[str, int] = {}
        self.open = 0
        self.given: list[Any] = []
        for name in vars(_fwpuclnt):
            if hasattr(self, name):
                monkeypatch.setattr(_fwpuclnt, name, self._checked(name))

    def _checked(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if name in self.fail:
                raise Win32Error(name, self.fail[name])
            return getattr(self, name)(*arguments)

        return call

    def FwpmEngineOpen0(self, server: None, authentication: int, identity: None, session: Any, engine: Any) -> None:
        assert ctypes.cast(session, ctypes.POINTER(fwpm.FWPM_SESSION0))[0].flags == 0, "what is dynamic does not stay"
        ctypes.cast(engine, ctypes.POINTER(ctypes.c_void_p))[0] = 7
        self.open += 1

    def FwpmEngineClose0(self, engine: int) -> None:
        self.open -= 1

    def FwpmTransactionBegin0(self, engine: int, flags: int) -> None:
        self.changed = dict(self.committed)

    def FwpmTransactionCommit0(self, engine: int) -> None:
        assert self.changed is not None
        self.committed, self.changed = self.changed, None

    def FwpmTransactionAbort0(self, engine: int) -> None:
        self.changed = None

    def _add(self, key: Any, value: object) -> None:
        assert self.changed is not None and bytes(key) not in self.changed
        self.changed[bytes(key)] = value

    def FwpmProviderAdd0(self, engine: int, provider: Any, descriptor: None) -> None:
        built = ctypes.cast(provider, ctypes.POINTER(fwpm.FWPM_PROVIDER0))[0]
        assert (built.flags, built.serviceName) == (1, None)
        self._add(built.providerKey, "provider")

    def FwpmSubLayerAdd0(self, engine: int, sublayer: Any, descriptor: None) -> None:
        built = ctypes.cast(sublayer, ctypes.POINTER(fwpm.FWPM_SUBLAYER0))[0]
        assert built.flags == 1 and ctypes.string_at(built.providerKey, 16) == PROVIDER
        self._add(built.subLayerKey, "sublayer")

    def FwpmFilterAdd0(self, engine: int, item: Any, descriptor: None, number: Any) -> None:
        built = ctypes.cast(item, ctypes.POINTER(fwpm.FWPM_FILTER0))[0]
        assert built.flags == 1 and ctypes.string_at(built.providerKey, 16) == PROVIDER
        assert bytes(built.subLayerKey) == SUBLAYER
        read = persistent.read_filter(built)
        self._add(built.filterKey, (read.name, bytes(built.layerKey), built.action.type))

    def _delete(self, key: Any, code: int) -> None:
        assert self.changed is not None
        name = ctypes.string_at(key, 16)
        if name not in self.changed:
            raise Win32Error("DeleteByKey", code)
        del self.changed[name]

    def FwpmProviderDeleteByKey0(self, engine: int, key: Any) -> None:
        self._delete(key, persistent.FWP_E_PROVIDER_NOT_FOUND)

    def FwpmSubLayerDeleteByKey0(self, engine: int, key: Any) -> None:
        self._delete(key, persistent.FWP_E_SUBLAYER_NOT_FOUND)

    def FwpmFilterDeleteByKey0(self, engine: int, key: Any) -> None:
        self._delete(key, persistent.FWP_E_FILTER_NOT_FOUND)

    def FwpmFilterGetByKey0(self, engine: int, key: Any, pointer: Any) -> None:
        found = self.committed.get(ctypes.string_at(key, 16))
        if not isinstance(found, tuple):
            raise Win32Error("FwpmFilterGetByKey0", persistent.FWP_E_FILTER_NOT_FOUND)
        name, layer, action = found
        text = fwpm.wide(name)
        built = fwpm.FWPM_FILTER0(layerKey=fwpm.GUID.from_buffer_copy(layer), action=fwpm.FWPM_ACTION0(action))
        built.displayData.name = ctypes.addressof(text)
        self.given.append((built, text))
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.addressof(built)

    def FwpmFreeMemory0(self, pointer: Any) -> None:
        address = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_void_p))[0]
        (at,) = [at for at, (built, _) in enumerate(self.given) if ctypes.addressof(built) == address]
        del self.given[at]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


def native(*names: str) -> list[NativeFilter]:
    return [NativeFilter(name, Layer.AUTH_CONNECT_V6, 5, name.startswith("b")) for name in names]


def test_a_set_takes_the_place_of_another_and_of_what_is_left_of_it(engine: Engine) -> None:
    filters = WindowsPersistentFilters()
    filters.replace(native("b1", "p2", "b3"))
    del engine.committed[bytes(persistent.filter_key(1))]  # by somebody else
    filters.replace(native("b4", "p5"))

    assert filters.installed() == [
        InstalledFilter("b4", Layer.AUTH_CONNECT_V6, True), InstalledFilter("p5", Layer.AUTH_CONNECT_V6, False),
    ]  # fmt: skip
    filters.replace([])
    assert (filters.installed(), engine.committed, engine.open, engine.given) == ([], {}, 0, [])


@pytest.mark.parametrize(
    "call", ["FwpmTransactionBegin0", "FwpmSubLayerAdd0", "FwpmFilterAdd0", "FwpmTransactionCommit0"]
)
def test_a_refusal_changes_nothing_and_names_the_call(engine: Engine, call: str) -> None:
    filters = WindowsPersistentFilters()
    filters.replace(native("b1"))
    engine.fail = {call: 0x8032_0012, "FwpmTransactionAbort0": 0x8032_000D}

    with pytest.raises(DriverError) as caught:
        filters.replace(native("b2"))

    assert (caught.value.call, caught.value.status) == (call, 0x8032_0012)
    engine.fail = {}
    assert [one.name for one in filters.installed()] == ["b1"]
    assert engine.open == 0


def test_a_filter_that_may_not_be_deleted_is_no_filter_that_is_not_there(engine: Engine) -> None:
    engine.fail = {"FwpmFilterDeleteByKey0": 5}
    with pytest.raises(DriverError, match="FwpmFilterDeleteByKey0"):
        WindowsPersistentFilters().replace([])
    engine.fail = {"FwpmFilterGetByKey0": 5}
    with pytest.raises(DriverError, match="FwpmFilterGetByKey0"):
        WindowsPersistentFilters().installed()


def test_an_engine_that_cannot_be_opened_is_told_in_four_lines(engine: Engine) -> None:
    engine.fail = {"FwpmEngineOpen0": 1753}
    with pytest.raises(PointsmanError) as caught:
        WindowsPersistentFilters().installed()

    assert caught.value.code == "PM206"


def test_every_number_has_a_key_of_its_own() -> None:
    keys = {bytes(persistent.filter_key(number)) for number in range(MAX_PERSISTENT)}

    assert len(keys) == MAX_PERSISTENT
    assert bytes(persistent.filter_key(0x1234))[14:] == b"\x12\x34"
