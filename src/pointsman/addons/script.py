"""An addon file: read it, run it, find the addons in it and their hooks.

A file may have hooks as functions, a list `addons` of objects with hooks as methods, or both.  `builtin:NAME` is a
file of our own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from pointsman.addons.import_hook import no_counterpart
from pointsman.errors import Exit, PointsmanError

SIZE_LIMIT = 4 * 1024 * 1024  # bytes
BUILTIN = "builtin:"
FLOW_HOOKS = frozenset(
    (
        "client_connected", "client_disconnected",
        "server_connect", "server_connected", "server_disconnected", "server_connect_error",
        "tls_clienthello", "tls_established_client", "tls_established_server", "tls_failed_client", "tls_failed_server",
        "requestheaders", "request", "responseheaders", "response", "error",
        "websocket_start", "websocket_message", "websocket_end",
        "tcp_start", "tcp_message", "tcp_end", "tcp_error",
    )
)  # fmt: skip
_numbers = count(1)
_MISSING = re.compile(r"cannot import name '(\w+)' from '(mitmproxy[\w.]*)'")
Stamp = tuple[int, int, int]


class Script:
    """One version of one file."""

    def __init__(self, source: str, module: ModuleType, text: str = "") -> None:
        self.text = text
        self.source = source
        """As the user named it."""
        self.module = module
        self.addons = list(_addons_in(module))

    def hook(self, name: str) -> Iterator[tuple[object, Callable[..., Any]]]:
        """Addon and function, in the order of the file."""
        for addon in self.addons:
            function = getattr(addon, name, None)
            if callable(function) and not isinstance(function, (ModuleType, type)):
                yield addon, function

    def commands(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        for addon in self.addons:
            for attribute in dir(addon):
                function = getattr(addon, attribute, None)
                name = getattr(function, "command_name", None)
                if callable(function) and isinstance(name, str):
                    yield name, function

    def close(self) -> None:
        sys.modules.pop(self.module.__name__, None)


def path_of(source: str) -> Path | None:
    """None if it is no file of the user's, and never changes."""
    return None if source.startswith(BUILTIN) else Path(source)


def builtin_names() -> list[str]:
    files = resources.files("pointsman.addons.builtin").iterdir()
    return sorted(file.name[:-3] for file in files if file.name.endswith(".py") and not file.name.startswith("_"))


def run_script(source: str) -> Script:
    """Run the file as a module of its own.  Raises whatever it raises; SyntaxError, OSError, ValueError."""
    if source.startswith(BUILTIN):
        text, file = _builtin(source.removeprefix(BUILTIN))
    else:
        text, file = _read(Path(source)), str(Path(source).absolute())
    code = compile(text, file, "exec")
    module = ModuleType(f"pointsman_addon_{next(_numbers)}_{Path(file).stem}")
    module.__file__ = file
    # Dataclasses and pickles look the module of a class up.
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(Path(file).parent))
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the user's file is what --addon is for
    except BaseException:
        del sys.modules[module.__name__]
        raise
    finally:
        sys.path.remove(str(Path(file).parent))
    return Script(source, module, text)


def stamp(source: str) -> Stamp:
    path = path_of(source)
    try:
        found = path.stat() if path else None
    except OSError:
        found = None  # gone for now; loading says so if it stays away
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else (0, 0, 0)


def unusable(source: str, seen: str) -> PointsmanError:
    return PointsmanError(
        f"cannot use the addon {source}",
        code="PM461",
        seen=seen,
        effect="nothing of this file runs; a version of it that was running still does",
        do="mend the file, or leave out its --addon or --set",
        status=Exit.BAD_FILE,
    )


def where(error: BaseException, file: str) -> str:
    """The error with the last line of `file` that it passed, as `file:line: Type: text`."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    place = f"{file}:{line}: " if line else ""
    if isinstance(error, ImportError) and (missing := _MISSING.match(str(error))) is not None:
        name = missing[1]
        return f"{place}{missing[2]}.{name} {no_counterpart(name)}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{place}{type(error).__name__}: {text}"


def _builtin(name: str) -> tuple[str, str]:
    if name not in builtin_names():
        raise ValueError(f"there is no built-in addon {name!r}; there are {', '.join(builtin_names())}")
    file = resources.files("pointsman.addons.builtin").joinpath(f"{name}.py")
    return file.read_text(encoding="utf-8"), str(file)


def _read(path: Path) -> str:
    if not path.is_file():
        raise ValueError("no such file" if not path.exists() else "not a plain file")
    data = path.read_bytes()[: SIZE_LIMIT + 1]
    if len(data) > SIZE_LIMIT:
        raise ValueError(f"larger than {SIZE_LIMIT} bytes")
    return data.decode("utf-8-sig")


def _addons_in(holder: object, depth: int = 0) -> Iterator[object]:
    """Itself, and what its `addons` names, down to a depth that no honest file has."""
    yield holder
    inner = getattr(holder, "addons", None)
    if isinstance(inner, (list, tuple)) and depth < 8:
        for one in inner:
            yield from _addons_in(one, depth + 1)
