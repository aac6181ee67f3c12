"""How the `_*.py` bindings beside this file are declared: one line a function, bound at the first call.

Knows nothing of what a function means.  Importable everywhere, so that mypy and the tests with doubles run on Linux:
only a call needs Windows.  Loaded from System32 and the program's own folder, never from the current directory.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

Check = Callable[[Any, Any], Any]
"""Result and Function to the value of the call, or an exception."""

BOOL = ctypes.c_int32
DWORD = ctypes.c_uint32
HANDLE = ctypes.c_void_p
WIDE = ctypes.c_wchar_p
POINTER = ctypes.c_void_p
ERROR_PROC_NOT_FOUND = 127
INVALID_HANDLE_VALUE = ctypes.c_void_p(-1).value


class Win32Error(Exception):
    """A call of Windows failed.  `code` is its error: Win32, Winsock, FWP_E_* or an HRESULT, as unsigned."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call}: Windows error {code_text(code)}")
        self.call = call
        self.code = code


def code_text(code: int) -> str:
    """As people look it up: decimal for Win32, hexadecimal for HRESULT and FWP_E_*."""
    return f"0x{code:08X}" if code >= 0x8000_0000 else str(code)


if sys.platform == "win32":  # pragma: no cover - runs under Wine and on Windows

    def last_error() -> int:
        return ctypes.get_last_error() & 0xFFFF_FFFF

    def _load(library: str) -> ctypes.CDLL:
        return ctypes.WinDLL(library, use_last_error=True)

else:

    def last_error() -> int:
        raise OSError("only Windows has a last error")

    def _load(library: str) -> ctypes.CDLL:
        raise OSError(f"{library} is part of Windows")


class Function:
    """One function of a DLL."""

    def __init__(self, library: str, name: str, result: Any, *arguments: Any, check: Check | None = None) -> None:
        self.library = library
        self.name = name
        self.result = result
        self.arguments = arguments
        self.check = check
        self._bound: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self._bound is None:
            self._bound = self._bind()
        return self._bound(*arguments)

    def _bind(self) -> Callable[..., Any]:
        library = _load(self.library)
        try:
            function = getattr(library, self.name)
        except AttributeError as error:  # an older Windows, or a stand-in
            raise Win32Error(self.name, ERROR_PROC_NOT_FOUND) from error
        function.argtypes = self.arguments
        function.restype = self.result
        if self.check is not None:
            check = self.check
            function.errcheck = lambda result, *_: check(result, self)
        return function  # type: ignore[no-any-return]  # ctypes has no type for a function


def nonzero(result: Any, function: Function) -> Any:
    """For BOOL and for handles that are NULL on failure."""
    if not result:
        raise Win32Error(function.name, last_error())
    return result


def valid_handle(result: Any, function: Function) -> Any:
    """For CreateFileW, whose failure is INVALID_HANDLE_VALUE."""
    if result in (None, INVALID_HANDLE_VALUE):
        raise Win32Error(function.name, last_error())
    return result


def zero(result: Any, function: Function) -> Any:
    """For functions that return their error."""
    if result:
        raise Win32Error(function.name, result & 0xFFFF_FFFF)
    return result
