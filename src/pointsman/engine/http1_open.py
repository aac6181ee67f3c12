"""A request on its way and what has come back so far, as `http1` and its two readers share it."""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct


class ResponseEnd(Enum):
    """How a response says where it ends."""

    UNTIL_CLOSE = auto()
    EXPLICIT = auto()


class OpenRequest(Struct, gc=False):
    started: float
    method: str = ""
    target: bytes = b""
    host: str | None = None
    status: int | None = None
    framing: ResponseEnd = ResponseEnd.UNTIL_CLOSE
    websocket: bool = False
    """The response says that what follows it is one."""
