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
        raise ModuleNotFoundError(
            f"{fullname} has no counterpart in Pointsman (docs/reference/addons.md lists those that have)",
            name=fullname,
        )


def _taken_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == NAME or name.startswith(NAME + ".")]
    return {name: sys.modules.pop(name) for name in names}
