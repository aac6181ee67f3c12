"""A WebSocket of an exchange as addons see it: its last messages, and how it was closed."""

from __future__ import annotations

from dataclasses import dataclass, field

from pointsman.engine.injection import Injections


@dataclass(slots=True)
class WebSocketMessage:
    from_client: bool
    is_text: bool
    content: bytes
    """After permessage-deflate, all fragments together."""
    timestamp: float
    dropped: bool = False
    injected: bool = False
    """It was made up by an addon."""

    @property
    def type(self) -> int:
        """1: text, 2: binary (RFC 6455 5.2)."""
        return 1 if self.is_text else 2

    @property
    def text(self) -> str:
        """Raises AttributeError for a binary message, as addons expect."""
        if not self.is_text:
            raise AttributeError("a binary message has no text")
        return self.content.decode("utf-8", "surrogateescape")

    @text.setter
    def text(self, value: str) -> None:
        self.content = value.encode("utf-8", "surrogateescape")

    def drop(self) -> None:
        """Do not pass it on."""
        self.dropped = True

    def kill(self) -> None:
        """As `drop`."""
        self.drop()


@dataclass(slots=True, eq=False)
class WebSocketData:
    messages: list[WebSocketMessage] = field(default_factory=list)
    """The last one is what `websocket_message` is about.  Bounded by the engine."""
    closed_by_client: bool | None = None
    """None: it is open, or was cut off."""
    close_code: int | None = None
    close_reason: str | None = None
    timestamp_end: float | None = None
    """Seconds since 1970, UTC; None: it is open."""
    injections: Injections | None = None
    """None: nobody would carry what is injected."""
