"""Names of mitmproxy's addon API that stand for ours: what scripts import (docs/reference/addons.md).

Only reached as `mitmproxy`, through `addons.import_hook`.  What is here either works or says that it does not.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """`import mitmproxy` and then `mitmproxy.http`.  Raises AttributeError for what has no counterpart."""
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(str(error)) from error
