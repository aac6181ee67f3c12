"""What a transaction works with: who carries its messages, and how each of its two bodies is treated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pointsman.engine.messages import Headers, Response, Transform

if TYPE_CHECKING:
    from pointsman.engine.transaction import Transaction


GATHER_LIMIT = 16 * 1024 * 1024  # bytes of one body that is gathered
GATHER_ALL_LIMIT = 4 * GATHER_LIMIT  # bytes of all bodies of one connection
BLOCKED_BODY = b"Blocked by a rule of the policy of this machine.\n"


class Carrier(Protocol):
    """What sends the messages of a transaction."""

    def ask(self, hook: str, transaction: Transaction, *, waits: bool) -> None:
        """`consulted` answers, not before this returns; or nobody does, if it `waits` for nothing."""

    def send_request(self, transaction: Transaction, *, whole: bool) -> None:
        """`whole`: no body follows, `raw_content` is it."""

    def send_request_data(self, transaction: Transaction, data: bytes) -> None: ...
    def end_request(self, transaction: Transaction) -> None: ...
    def invite_body(self, transaction: Transaction) -> None:
        """We want the body before the origin has seen anything: answer `Expect: 100-continue` ourselves."""

    def send_response(self, transaction: Transaction, *, whole: bool) -> None: ...
    def skip_response_body(self, transaction: Transaction) -> bool:
        """Before `send_response`: the app gets no body, but the origin sends one.  True: it is awaited and thrown
        away; False: the exchange may end."""

    def send_response_data(self, transaction: Transaction, data: bytes) -> None: ...
    def end_response(self, transaction: Transaction) -> None: ...
    def reset(self, transaction: Transaction, why: str) -> None: ...
    def refuse(self, transaction: Transaction, why: str) -> None:
        """There is no response that could be sent: the app gets a 502 that says why."""


class Gathered:
    """Bytes that all exchanges of a connection have gathered and not sent yet."""

    def __init__(self) -> None:
        self.size = 0

    def add(self, body: BodyWay, data: bytes) -> bool:
        """False: enough."""
        assert body.gathered is not None, "it is being gathered"
        body.gathered += data
        self.size += len(data)
        return len(body.gathered) <= GATHER_LIMIT and self.size <= GATHER_ALL_LIMIT

    def take(self, body: BodyWay) -> bytes:
        gathered, body.gathered = bytes(body.gathered or b""), None
        self.size -= len(gathered)
        return gathered


class BodyWay:
    """How one of the two bodies is treated."""

    def __init__(self) -> None:
        self.gathered: bytearray | None = None
        self.transform: Transform | None = None
        self.begun = False
        """Its head was sent."""
        self.received = False
        """To its end."""
        self.is_skipped = False
        """Thrown away as it comes."""

    def transformed(self, data: bytes) -> bytes:
        if self.transform is None:
            return data
        result = self.transform(data)
        return result if isinstance(result, bytes) else b"".join(result)


def block_page() -> Response:
    fields = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Cache-Control", b"no-store")]
    return Response(403, "Forbidden", "HTTP/1.1", Headers(fields), BLOCKED_BODY)
