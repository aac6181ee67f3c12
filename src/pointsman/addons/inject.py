"""`ctx.master.commands.call("inject.websocket", flow, to_client, message)`, "inject.tcp": say what no peer has said.

A message that is injected is shown to `websocket_message` or `tcp_message` like any other, and then goes out as if the
app (`to_client` false) or the origin had sent it.  At most `engine.injection.WAITING_LIMIT` wait for a connection.
"""

from __future__ import annotations

import asyncio
import logging
import os

from pointsman.addons.context import CommandError, Commands
from pointsman.engine.injection import INJECT, Injected, InjectionError, Injections
from pointsman.engine.messages import HttpFlow, TcpMessage

CARRIERS = ("websocket_start", "websocket_message", "websocket_end", "tcp_start", "tcp_message", "tcp_end", "tcp_error")
"""Hooks whose listeners get a flow that can carry more than its own."""
_log = logging.getLogger(__name__)
__all__ = ["CARRIERS", "INJECT", "Injector"]


class Injector:
    def __init__(self) -> None:
        """In a running loop, which is where the connections are."""
        self._loop = asyncio.get_running_loop()

    def add_to(self, commands: Commands) -> None:
        commands.add("inject.websocket", self.websocket)
        commands.add("inject.tcp", self.tcp)

    def websocket(self, flow: object, to_client: bool, message: bytes | str, is_text: bool = True) -> None:
        """From any thread.  Raises CommandError for what is no WebSocket, is over, or has too many waiting."""
        data = flow.websocket if isinstance(flow, HttpFlow) else None
        if data is None:
            raise CommandError("inject.websocket: this flow is no WebSocket")
        self._inject(data.injections, Injected(bool(to_client), _content(message), bool(is_text), os.urandom(4)))

    def tcp(self, flow: object, to_client: bool, message: bytes | str) -> None:
        """As `websocket`."""
        if not isinstance(flow, TcpMessage):
            raise CommandError("inject.tcp: this flow is no TCP stream")
        self._inject(flow.injections, Injected(bool(to_client), _content(message)))

    def _inject(self, injections: Injections | None, one: Injected) -> None:
        if injections is None:
            raise CommandError("nothing can be injected into a copy, or into a connection that nobody listened to")
        try:
            injections.check(len(one.content))
        except InjectionError as error:
            raise CommandError(f"not injected: {error}") from error
        self._loop.call_soon_threadsafe(_add, injections, one)


def _add(injections: Injections, one: Injected) -> None:
    try:
        injections.add(one)
    except InjectionError as error:
        _log.warning("not injected: %s", error)


def _content(message: object) -> bytes:
    """Raises CommandError."""
    if isinstance(message, str):
        return message.encode("utf-8", "surrogateescape")
    if not isinstance(message, (bytes, bytearray)):
        raise CommandError(f"a message is bytes or str, not {type(message).__name__}")
    return bytes(message)
