"""Hold the first bytes of a connection until we know what they are.

The driver reports the address an app dialled, never the name it had in mind.  The name is in the TLS ClientHello or
in the head of an HTTP request, so `Peek` keeps downstream bytes back until it can say one thing, once:

    a whole ClientHello is here             Peeked(held, hello=...)
    a whole HTTP/1 request head is here     Peeked(held, head=...)
    HTTP/2's preface is here, in clear      Peeked(held, is_http2=True)
    none of them, too many bytes, too late  Peeked(held)

In SMTP or MySQL the server speaks first and the app sends nothing; then there is nothing to hold and no deadline
either, and the owner calls `give_up` when the server has spoken (an HTTP/2 server speaks at once, but so does its app).
Once bytes are held, they wait PEEK_TIMEOUT to become clear, or CERTAIN_TIMEOUT if they can only be TLS or HTTP: there
the server is silent until the app has finished, and giving up early would let through undecided whoever dribbles its
hello.
"""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from pointsman.wire.client_hello import ClientHello, Incomplete, parse_client_hello
from pointsman.wire.http2_frames import PREFACE
from pointsman.wire.http_head import HttpHead, NoHead, parse_http_head

PEEK_LIMIT = 64 * 1024  # bytes held back
PEEK_TIMEOUT = 0.3  # seconds after the first byte
CERTAIN_TIMEOUT = 15.0  # seconds after the first byte


class Peeked(Struct, frozen=True, gc=False):
    """What we learned.  `held` is every byte held back, in order."""

    held: bytes
    hello: ClientHello | None = None
    head: HttpHead | None = None
    is_http2: bool = False
    """With prior knowledge (RFC 9113 3.3): the host is asked for by each request."""

    @property
    def host(self) -> str | None:
        if self.hello is not None:
            return self.hello.server_name
        return self.head.host if self.head is not None else None


class Peek:
    """Sans-I/O: bytes and the time come in, at most one `Peeked` comes out."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._since: float | None = None
        self.deadline: float | None = None
        """When to call `tick`, on the caller's clock; None while nothing is held."""

    def receive(self, data: bytes, now: float) -> Peeked | None:
        self._held += data
        if self._since is None:
            self._since = now
        timeout = PEEK_TIMEOUT
        match parse_client_hello(self._held):
            case ClientHello() as hello:
                return Peeked(bytes(self._held), hello=hello)
            case Incomplete.NEED_DATA:
                timeout = CERTAIN_TIMEOUT
            case Incomplete.NOT_TLS if self._held.startswith(PREFACE):
                return Peeked(bytes(self._held), is_http2=True)
            case Incomplete.NOT_TLS if self._held.startswith(b"PRI ") and PREFACE.startswith(bytes(self._held)):
                timeout = CERTAIN_TIMEOUT
            case Incomplete.NOT_TLS:
                match parse_http_head(self._held):
                    case HttpHead() as head:
                        return Peeked(bytes(self._held), head=head)
                    case NoHead.NEED_HEAD:
                        timeout = CERTAIN_TIMEOUT
                    case NoHead.NEED_DATA:
                        pass
                    case NoHead.NOT_HTTP:
                        return self.give_up()
                    case unreachable:
                        assert_never(unreachable)
            case unreachable:
                assert_never(unreachable)
        if len(self._held) >= PEEK_LIMIT:
            return self.give_up()
        self.deadline = self._since + timeout
        return self.tick(now)

    def tick(self, now: float) -> Peeked | None:
        if self.deadline is not None and now >= self.deadline:
            return self.give_up()
        return None

    def give_up(self) -> Peeked:
        """Answer with what is here, as bytes of no known kind."""
        self.deadline = None
        return Peeked(bytes(self._held))
