"""The WFP filter engine by fwpuclnt.dll: implements `system.interface.FilterEngine`.

Decides how one set of filters replaces another.  What a filter looks like to Windows is `system.fwpm`'s.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence

from pointsman.errors import PointsmanError
from pointsman.system import fwpm
from pointsman.system.interface import DriverError
from pointsman.system.windows import _fwpuclnt
from pointsman.system.windows._library import Win32Error, code_text
from pointsman.wire.filters import Filter

_BFE_DOWN = {1722, 1726, 1753, 1764}
"""RPC errors of a Base Filtering Engine that is not running."""


class WindowsFilterEngine:
    """A dynamic session: what it added goes with it, and with its process."""

    def __init__(self) -> None:
        """Raises PointsmanError (PM206): the engine cannot be opened."""
        session = fwpm.dynamic_session("Pointsman")
        engine = ctypes.c_void_p()
        try:
            _fwpuclnt.FwpmEngineOpen0(
                None, _fwpuclnt.RPC_C_AUTHN_WINNT, None, ctypes.byref(session.session), ctypes.byref(engine)
            )
        except Win32Error as error:
            raise cannot_open(error.code) from error
        self._engine: int | None = engine.value
        self._ids: list[int] = []

    def replace(self, filters: Sequence[Filter]) -> None:
        if self._engine is None:
            raise DriverError("FwpmTransactionBegin0", 6)  # ERROR_INVALID_HANDLE
        built = [fwpm.build_filter(item) for item in filters]
        try:
            _fwpuclnt.FwpmTransactionBegin0(self._engine, 0)
            try:
                added = self._swap(built)
                _fwpuclnt.FwpmTransactionCommit0(self._engine)
            except Win32Error:
                # The first error is the one to report; an abort that fails leaves nothing committed either.
                with contextlib.suppress(Win32Error):
                    _fwpuclnt.FwpmTransactionAbort0(self._engine)
                raise
        except Win32Error as error:
            raise DriverError(error.call, error.code) from error
        self._ids = added

    def _swap(self, built: Sequence[fwpm.BuiltFilter]) -> list[int]:
        for number in self._ids:
            _fwpuclnt.FwpmFilterDeleteById0(self._engine, number)
        added = []
        for item in built:
            assigned = ctypes.c_uint64()
            _fwpuclnt.FwpmFilterAdd0(self._engine, ctypes.byref(item.filter), None, ctypes.byref(assigned))
            added.append(assigned.value)
        return added

    def close(self) -> None:
        engine, self._engine = self._engine, None
        self._ids = []
        if engine is not None:
            # The session ends with this handle or, at the latest, with this process.
            with contextlib.suppress(Win32Error):
                _fwpuclnt.FwpmEngineClose0(engine)


def cannot_open(code: int) -> PointsmanError:
    down = code in _BFE_DOWN
    return PointsmanError(
        "cannot open the Windows filter engine" + (": the Base Filtering Engine is not running" if down else ""),
        code="PM206",
        seen=f"FwpmEngineOpen0: Windows error {code_text(code)}",
        effect="nothing is intercepted; connections go direct (fail open)",
        do="start the service BFE (sc start BFE)" if down else "run the same command as administrator",
    )
