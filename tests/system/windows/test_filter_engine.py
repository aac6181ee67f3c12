"""`WindowsFilterEngine` on a double of fwpuclnt.dll with transactions: one set replaces another, or nothing changes."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from pointsman.errors import PointsmanError
from pointsman.system import fwpm
from pointsman.system.interface import DriverError
from pointsman.system.windows import _fwpuclnt
from pointsman.system.windows._library import Win32Error
from pointsman.system.windows.filter_engine import WindowsFilterEngine
from pointsman.wire.filters import Filter, Layer


class Fwpuclnt:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.session_flags = 0
        self.committed: dict[int, int] = {}  # id: raw context
        self.changed: dict[int, int] | None = None
        self.fail: dict[str, int] = {}
        self.closed = 0
        self.next = 0
        for name in vars(_fwpuclnt):
            if hasattr(self, name):
                monkeypatch.setattr(_fwpuclnt, name, getattr(self, name))

    def _check(self, call: str) -> None:
        if call in self.fail:
            raise Win32Error(call, self.fail[call])

    def FwpmEngineOpen0(self, server: None, authentication: int, identity: None, session: Any, engine: Any) -> int:
        self._check("FwpmEngineOpen0")
        assert authentication == 10
        self.session_flags = ctypes.cast(session, ctypes.POINTER(fwpm.FWPM_SESSION0))[0].flags
        ctypes.cast(engine, ctypes.POINTER(ctypes.c_void_p))[0] = 7
        return 0

    def FwpmEngineClose0(self, engine: int) -> int:
        assert engine == 7
        self.closed += 1
        self._check("FwpmEngineClose0")
        return 0

    def FwpmTransactionBegin0(self, engine: int, flags: int) -> int:
        self._check("FwpmTransactionBegin0")
        assert self.changed is None
        self.changed = dict(self.committed)
        return 0

    def FwpmTransactionCommit0(self, engine: int) -> int:
        self._check("FwpmTransactionCommit0")
        assert self.changed is not None
        self.committed, self.changed = self.changed, None
        return 0

    def FwpmTransactionAbort0(self, engine: int) -> int:
        self.changed = None
        self._check("FwpmTransactionAbort0")
        return 0

    def FwpmFilterAdd0(self, engine: int, item: Any, descriptor: None, number: Any) -> int:
        self._check("FwpmFilterAdd0")
        assert self.changed is not None
        self.next += 1
        self.changed[self.next] = ctypes.cast(item, ctypes.POINTER(fwpm.FWPM_FILTER0))[0].rawContext
        ctypes.cast(number, ctypes.POINTER(ctypes.c_uint64))[0] = self.next
        return 0

    def FwpmFilterDeleteById0(self, engine: int, number: int) -> int:
        assert self.changed is not None
        del self.changed[number]
        return 0


@pytest.fixture
def fwpuclnt(monkeypatch: pytest.MonkeyPatch) -> Fwpuclnt:
    return Fwpuclnt(monkeypatch)


def filters(*contexts: int) -> list[Filter]:
    return [Filter("f", Layer.CONNECT_REDIRECT_V4, 1, context) for context in contexts]


def test_the_session_is_dynamic(fwpuclnt: Fwpuclnt) -> None:
    WindowsFilterEngine()

    assert fwpuclnt.session_flags == 1


def test_a_new_set_replaces_the_old_one(fwpuclnt: Fwpuclnt) -> None:
    engine = WindowsFilterEngine()
    engine.replace(filters(1, 2))
    engine.replace(filters(3))
    engine.replace([])
    engine.replace(filters(4, 5))

    assert sorted(fwpuclnt.committed.values()) == [4, 5]


@pytest.mark.parametrize("call", ["FwpmTransactionBegin0", "FwpmFilterAdd0", "FwpmTransactionCommit0"])
def test_a_refusal_leaves_the_old_set_and_the_next_one_works(fwpuclnt: Fwpuclnt, call: str) -> None:
    engine = WindowsFilterEngine()
    engine.replace(filters(1))
    fwpuclnt.fail = {call: 0x8032_0012, "FwpmTransactionAbort0": 0x8032_000D}

    with pytest.raises(DriverError) as caught:
        engine.replace(filters(2))

    assert (caught.value.call, caught.value.status) == (call, 0x8032_0012)  # the first error, not that of the abort
    assert (list(fwpuclnt.committed.values()), fwpuclnt.changed) == ([1], None)
    fwpuclnt.fail = {}
    engine.replace(filters(3))
    assert list(fwpuclnt.committed.values()) == [3]


def test_closing_twice_closes_once_even_if_windows_minds(fwpuclnt: Fwpuclnt) -> None:
    engine = WindowsFilterEngine()
    fwpuclnt.fail = {"FwpmEngineClose0": 6}
    engine.close()
    engine.close()

    assert fwpuclnt.closed == 1
    with pytest.raises(DriverError):
        engine.replace([])


@pytest.mark.parametrize(
    ("code", "sentence"), [(1753, "Base Filtering Engine is not running"), (1764, "not running"), (5, "filter engine")]
)
def test_an_engine_that_cannot_be_opened_is_told_in_four_lines(fwpuclnt: Fwpuclnt, code: int, sentence: str) -> None:
    fwpuclnt.fail = {"FwpmEngineOpen0": code}

    with pytest.raises(PointsmanError) as caught:
        WindowsFilterEngine()

    assert caught.value.code == "PM206"
    assert sentence in caught.value.what
    assert ("BFE" in caught.value.do) == (code != 5)
