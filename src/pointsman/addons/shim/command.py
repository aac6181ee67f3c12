"""`mitmproxy.command`: functions of an addon that others call by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pointsman.addons.context import Commands

CommandManager = Commands
Function = Callable[..., Any]


def command(name: str | None = None) -> Callable[[Function], Function]:
    """Mark a method of an addon as a command."""

    def mark(function: Function) -> Function:
        setattr(function, "command_name", name or function.__name__.replace("_", "."))  # noqa: B010 - functions have no such attribute
        return function

    return mark


def argument(name: str, type: Any) -> Callable[[Function], Function]:  # noqa: A002 - its name elsewhere
    """What a command line would complete; nothing completes here."""
    del name, type
    return lambda function: function


__all__ = ["CommandManager", "argument", "command"]
