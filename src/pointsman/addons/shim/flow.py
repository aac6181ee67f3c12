"""`mitmproxy.flow`."""

from __future__ import annotations

from pointsman.engine.messages import ConnectionNotice, HttpFlow, TcpMessage

Flow = (HttpFlow, TcpMessage, ConnectionNotice)
"""For isinstance; our flows share no base class."""


class Error(str):
    """The text of `flow.error`."""

    __slots__ = ()
    KILLED_MESSAGE = "Connection killed."

    @property
    def msg(self) -> str:
        return str(self)


__all__ = ["Error", "Flow"]
