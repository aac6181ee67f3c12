"""`mitmproxy.types`: what the arguments of a command are; here they only say it."""

from __future__ import annotations


class Path(str):
    """A path as people write it."""

    __slots__ = ()


class Cmd(str):
    """The name of a command."""

    __slots__ = ()


class CmdArgs(str):
    """An argument of a command."""

    __slots__ = ()


class Space(str):
    """Blanks between arguments."""

    __slots__ = ()


class Choice:
    """One of what a command gives."""

    def __init__(self, options_command: str) -> None:
        self.options_command = options_command


__all__ = ["Choice", "Cmd", "CmdArgs", "Path", "Space"]
