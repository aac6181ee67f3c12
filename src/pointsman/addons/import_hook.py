"""`import mitmproxy` in a script that an addon host runs: our own modules of those names (`addons/shim`).

Always ours while a host is at work, also if the real mitmproxy is installed: flows here are our objects, and a
response made by the other package would mean nothing to the engine.  When the host is gone, so are they.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

NAME = "mitmproxy"
_REASONS = {
    "dns": "DNS does not pass through it",
    "udp": "UDP does not pass through it",
    "io": "flows are neither written nor read in mitmproxy's format",
    "certs": "certificates are not made by addons",
    "emoji": "there is no list of flows to mark",
    "tools": "it has no user interface",
    "layer": "what a protocol is, is not decided by addons",
    "layers": "what a protocol is, is not decided by addons",
    "commands": "what a protocol does, is not decided by addons",
    "connections": "mitmproxy itself has it no more",
}
"""For those that people miss, by the part of the name that says it."""
FOLDER = Path(__file__).parent / "shim"


class ShimFinder(MetaPathFinder):
    def __init__(self) -> None:
        self._hidden: dict[str, ModuleType] = {}

    def install(self) -> None:
        """Before any script is run.  A real mitmproxy that is imported already steps aside until `remove`."""
        self._hidden = _taken_out()
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Harmless twice."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            _taken_out()
            sys.modules.update(self._hidden)

    def find_spec(
        self,
        fullname: str,
        _path: Sequence[str] | None,
        _target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Raises ModuleNotFoundError for a module of mitmproxy that has no counterpart here."""
        first, *rest = fullname.split(".")
        if first != NAME:
            return None
        place = FOLDER.joinpath(*rest)
        if (place / "__init__.py").is_file():
            return spec_from_file_location(fullname, place / "__init__.py", submodule_search_locations=[str(place)])
        if place.with_suffix(".py").is_file():
            return spec_from_file_location(fullname, place.with_suffix(".py"))
        # Without a name of its own: `from mitmproxy import x` would take it for its own business and say less.
        raise ModuleNotFoundError(f"{fullname} {no_counterpart(next((one for one in rest if one in _REASONS), ''))}")


def no_counterpart(part: str) -> str:
    """For people, after the name of what is not there."""
    reason = _REASONS.get(part)
    why = f": {reason}" if reason else ""
    return f"has no counterpart in Pointsman{why} (docs/reference/addons.md lists what has)"


def _taken_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == NAME or name.startswith(NAME + ".")]
    return {name: sys.modules.pop(name) for name in names}
