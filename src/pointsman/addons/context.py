"""What addons find as `ctx`: options, a log, and the few things that the running proxy can be asked for.

One for a process, since scripts import it by name; the host that runs now stands behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pointsman.addons.options import Options, add_fixed

ALERT = logging.INFO + 1
logging.addLevelName(ALERT, "ALERT")
_log = logging.getLogger("pointsman.addon")
Call = Callable[..., Any]


class CommandError(Exception):
    """A command that is not there, or refused."""


class Log:
    """`ctx.log`."""

    def debug(self, text: str = "") -> None:
        _log.debug("%s", text)

    def info(self, text: str = "") -> None:
        _log.info("%s", text)

    def alert(self, text: str = "") -> None:
        _log.log(ALERT, "%s", text)

    def warn(self, text: str = "") -> None:
        _log.warning("%s", text)

    warning = warn

    def error(self, text: str = "") -> None:
        _log.error("%s", text)

    def __call__(self, text: str, level: str = "info") -> None:
        getattr(self, level, self.info)(text)


class Commands:
    """Named functions of addons: `ctx.master.commands.call("name", ...)`."""

    def __init__(self) -> None:
        self._commands: dict[str, Call] = {}

    def add(self, path: str, function: Call) -> None:
        self._commands[path] = function

    def call(self, path: str, *arguments: Any) -> Any:
        """Raises CommandError if there is none of that name."""
        if path not in self._commands:
            raise CommandError(f"no addon has a command {path!r}")
        return self._commands[path](*arguments)

    def execute(self, line: str) -> Any:
        """Name and arguments with blanks between them."""
        path, *arguments = line.split()
        return self.call(path, *arguments)

    def __contains__(self, path: object) -> bool:
        return path in self._commands


class AddonNames:
    """`ctx.master.addons`: whether one is there, and which."""

    def __init__(self, find: Callable[[str], object | None]) -> None:
        self._find = find

    def get(self, name: str) -> object | None:
        return self._find(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None


class Master:
    """`ctx.master`."""

    def __init__(self, options: Options, find: Callable[[str], object | None]) -> None:
        self.options = options
        self.commands = Commands()
        self.addons = AddonNames(find)
        self._stop: Call = lambda: None

    def on_shutdown(self, stop: Call) -> None:
        self._stop = stop

    def shutdown(self) -> None:
        """Withdraw, drain, end, as a signal would."""
        self._stop()


class Context:
    def __init__(self) -> None:
        self.log = Log()
        self.options = Options()
        self.master = Master(self.options, lambda _: None)

    def renew(self, find: Callable[[str], object | None]) -> None:
        """Another host: what the last one's addons declared is gone."""
        self.options = Options()
        add_fixed(self.options)
        self.master = Master(self.options, find)


ctx = Context()
