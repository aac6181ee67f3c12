"""The language of the control channel: JSON lines, versioned, one command each; a registry of what a proxy can do.

    request  {"version": 1, "command": "pause", "arguments": {"seconds": 60}}
    reply    {"version": 1, "ok": true, "result": {...}}     or     {"version": 1, "ok": false, "error": "..."}

It decides what is a request and what becomes of one that is none.  What the commands do is in `control.operations`;
who may ask is the operating system's business (`system.interface.ControlChannel`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from pointsman.system.interface import MAX_CONTROL_REPLY, System

VERSION = 1
ASK_TIMEOUT = 5.0  # seconds that a proxy may take to answer
_log = logging.getLogger(__name__)

Result = dict[str, Any]
Handler = Callable[[dict[str, Any]], Awaitable[Result]]
"""Arguments to result.  Raises CommandError for what the caller can mend."""


class CommandError(Exception):
    """A command was refused; the text is for people."""


class Request(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    command: str
    arguments: dict[str, Any] = {}


class Reply(msgspec.Struct, omit_defaults=True):
    version: int
    ok: bool
    result: dict[str, Any] | None = None
    error: str | None = None


class Commands:
    """What a running proxy can be asked."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, name: str, handler: Handler) -> None:
        assert name not in self._handlers, f"{name} has a handler"
        self._handlers[name] = handler

    async def answer(self, line: bytes) -> bytes:
        """Never raises: whatever arrives, there is a reply."""
        try:
            reply = Reply(VERSION, ok=True, result=await self._perform(line))
        except CommandError as error:
            reply = Reply(VERSION, ok=False, error=str(error))
        except Exception as bug:
            _log.exception("a control command ended by a bug in the proxy")
            reply = Reply(VERSION, ok=False, error=f"internal error: {type(bug).__name__}")
        encoded = msgspec.json.encode(reply)
        if len(encoded) < MAX_CONTROL_REPLY:
            return encoded
        return msgspec.json.encode(Reply(VERSION, ok=False, error="the answer is too long"))

    async def _perform(self, line: bytes) -> Result:
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CommandError(f"not a request: {error}") from error
        if request.version != VERSION:
            raise CommandError(f"this proxy speaks version {VERSION} of the control channel, not {request.version}")
        handler = self._handlers.get(request.command)
        if handler is None:
            raise CommandError(f"no command {request.command[:40]!r}; there are {', '.join(sorted(self._handlers))}")
        return await handler(request.arguments)


def ask(
    system: System, pid: int, command: str, arguments: dict[str, Any] | None = None, *, timeout: float = ASK_TIMEOUT
) -> Result:
    """Ask one proxy; blocks.

    Raises:
        CommandError: it refused, or what answered is no proxy of ours.
        OSError: nobody answers.
    """
    request = msgspec.json.encode(Request(VERSION, command, arguments or {}))
    try:
        reply = msgspec.json.decode(system.control.ask(pid, request, timeout), type=Reply)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"process {pid} answered what is no reply: {error}") from error
    if not reply.ok:
        raise CommandError(reply.error or "refused, without a reason")
    return reply.result or {}
