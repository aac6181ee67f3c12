"""The sending half of HTTP/1 rebuilt: what a transaction wants sent, and how an exchange and the connection end.

It knows which exchange is under way and what waits on both sides; what to make of bytes that arrive, `rebuild_http1`
decides.
"""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.engine.commands import Command, Consult, End, Resume, Send
from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.framing import carries_body
from pointsman.engine.messages import Headers, Response
from pointsman.engine.pauses import held_back
from pointsman.engine.rebuild import HELD_LIMIT, LINGER, Context, Rebuild
from pointsman.engine.rebuild_http1_messages import Persistence, error_page, request_bytes, response_bytes
from pointsman.engine.rebuild_tunnel import Tunnel
from pointsman.engine.transaction import Transaction
from pointsman.wire.http1_bodies import Body, SizedBody, write_chunk
from pointsman.wire.http1_heads import Facts, HeadError, write_fields

DISCARD_LIMIT = 1024 * 1024  # bytes of a body that is read only to throw it away


class Http1Carrier(Rebuild):
    """`transaction.Carrier`, and the state that both halves share."""

    protocol = "http/1.1"

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._clock = lambda: context.wall(self._now)
        self._out: list[Command] = []
        self._bytes: dict[Side, list[bytes]] = {side: [] for side in Side}
        """To be sent before `_out` is carried out."""
        self._from_app, self._from_origin = bytearray(), bytearray()
        """What has come and was not looked at yet."""
        self._waiting = {Side.DOWNSTREAM: self._from_app, Side.UPSTREAM: self._from_origin}
        self._ended: set[Side] = set()
        self._paused: set[Side] = set()
        self._transaction: Transaction | None = None
        self._asked: dict[int, Transaction] = {}
        """Questions under way; one at most, and `error` which is not waited for."""
        self._request_body: Body | None = None
        self._request_facts = Facts()
        self._response_body: Body | None = None
        self._persistence = Persistence()
        self._request_chunked = self._response_chunked = False
        """Ours."""
        self._switching = False
        """The request asks for another protocol: what follows waits for the answer."""
        self._tunnel: Tunnel | None = None
        self._origin_told = False
        """That the app has ended."""
        self._closing = False

    # What the transaction wants sent.

    def ask(self, hook: str, transaction: Transaction, *, waits: bool) -> None:
        number = next(self._context.numbers)
        if waits:
            self._asked[number] = transaction
        self._out.append(Consult(number, hook, transaction.flow))

    def send_request(self, transaction: Transaction, *, whole: bool) -> None:
        head, self._request_chunked = request_bytes(transaction.flow.request, self._request_facts, whole=whole)
        data = transaction.flow.request.raw_content if whole else None
        self._send(Side.UPSTREAM, head)
        if whole:
            if data:
                self.send_request_data(transaction, data)
            self.end_request(transaction)

    def send_request_data(self, transaction: Transaction, data: bytes) -> None:
        assert transaction is self._transaction, "there is one at a time"
        self._send(Side.UPSTREAM, write_chunk(data) if self._request_chunked else data)

    def end_request(self, transaction: Transaction) -> None:
        if self._request_chunked:
            self._send(Side.UPSTREAM, _last_chunk(transaction.flow.request.trailers))

    def invite_body(self, transaction: Transaction) -> None:
        assert transaction is self._transaction, "there is one at a time"
        if self._request_facts.expects_continue:
            self._request_facts.expects_continue = False
            self._send(Side.DOWNSTREAM, b"HTTP/1.1 100 Continue\r\n\r\n")

    def send_response(self, transaction: Transaction, *, whole: bool) -> None:
        self._persistence.response_begun = True
        if transaction.answered_here and not self._can_discard_body():
            self._persistence.request = False
        response = transaction.flow.response
        assert response is not None, "there is one to be sent"
        has_body = carries_body(transaction.app_method, response.status_code)
        head, self._response_chunked = response_bytes(
            transaction.flow, self._persistence, whole=whole, has_body=has_body
        )
        self._send(Side.DOWNSTREAM, head)
        if whole and response.raw_content and has_body:
            self.send_response_data(transaction, response.raw_content)

    def skip_response_body(self, transaction: Transaction) -> bool:
        assert transaction is self._transaction, "there is one at a time"
        if _is_soon_over(self._response_body):
            return True
        self._persistence.response = False
        return False

    def send_response_data(self, transaction: Transaction, data: bytes) -> None:
        assert transaction is self._transaction, "there is one at a time"
        self._send(Side.DOWNSTREAM, write_chunk(data) if self._response_chunked else data)

    def end_response(self, transaction: Transaction) -> None:
        response = transaction.flow.response
        if self._response_chunked and response is not None:
            self._send(Side.DOWNSTREAM, _last_chunk(response.trailers))
        self._complete_if_done()

    def reset(self, transaction: Transaction, why: str) -> None:
        assert transaction is self._transaction, "there is one at a time"
        self._finish(why)
        self._reset(why)

    def refuse(self, transaction: Transaction, why: str) -> None:
        assert transaction is self._transaction, "there is one at a time"
        self._fail(502, why)

    def _send(self, side: Side, data: bytes) -> None:
        if data:
            self._bytes[side].append(data)

    # The end of an exchange, and of the connection.

    def _complete_if_done(self) -> None:
        transaction = self._transaction
        if transaction is None or not transaction.response_done:
            return
        if not self._persistence.persists:
            self._finish(None)
            self._close()
        elif self._request_body is None:
            self._finish(None)
            if Side.DOWNSTREAM in self._ended and not self._waiting[Side.DOWNSTREAM]:
                self._close()

    def _can_discard_body(self) -> bool:
        return _is_soon_over(self._request_body) and not (self._request_body and self._request_facts.expects_continue)

    def _finish(self, error: str | None) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return
        self._request_body = self._response_body = None
        self.done.append(transaction.exchange(self._now, error))
        transaction.finish(error)

    def _refuse_message(self, error: HeadError) -> None:
        # Only what the app has sent may be told to it as its fault.
        reading_request = self._transaction is None or not self._transaction.asked_origin
        status = error.status if reading_request else 502
        who = "request" if reading_request else "response"
        self._fail(status, f"refused: the {who} has {error}")

    def _fail(self, status: int, why: str) -> None:
        """Say so to the app if it has not got an answer yet, and close."""
        transaction = self._transaction
        if transaction is None:
            self._record_refused(status, why)
        if not self._persistence.response_begun:
            self._send(Side.DOWNSTREAM, error_page(status, why))
            if transaction is not None and transaction.flow.response is None:
                transaction.flow.response = Response(status, "", "HTTP/1.1", Headers())
            self._finish(why)
            self._close()
        else:
            self._finish(why)
            self._reset(why)

    def _record_refused(self, status: int, why: str) -> None:
        """A request that could not be read has neither method nor path."""
        self.seen_request = True
        self.done.append(
            Exchange("", "", self._context.host, status, len(self._waiting[Side.DOWNSTREAM]), 0,
                     self._now, self._now, why)
        )  # fmt: skip

    def _reset(self, why: str) -> None:
        self.failure, self.resets = why, True

    def _close(self) -> None:
        """After the last word to the app: both directions end, and what still comes is thrown away."""
        if self._closing:
            return
        self._closing = True
        self._out += [End(Side.DOWNSTREAM)] if self._origin_told else [End(Side.DOWNSTREAM), End(Side.UPSTREAM)]
        self._out += [Resume(side) for side in self._paused]
        self._paused.clear()
        for waiting in self._waiting.values():
            waiting.clear()
        self.finished = Side.DOWNSTREAM in self._ended
        self.deadline = self._now + LINGER

    # What goes to the connection.

    def _taken(self) -> list[Command]:
        sends: list[Command] = []
        for side, parts in self._bytes.items():
            if parts:
                sends.append(Send(side, b"".join(parts)))
                parts.clear()
        out, self._out = self._out, []
        return sends + out if sends else out

    def _hold_back(self) -> None:
        if len(self._from_app) < HELD_LIMIT and len(self._from_origin) < HELD_LIMIT and not self._paused:
            return
        self._out += held_back(self._waiting, self._paused, HELD_LIMIT)


def _is_soon_over(body: Body | None) -> bool:
    """What is left of it may be read and thrown away."""
    return body is None or (isinstance(body, SizedBody) and body.left <= DISCARD_LIMIT)


def _last_chunk(trailers: Headers | None) -> bytes:
    fields: Iterable[tuple[bytes, bytes]] = trailers.fields if trailers is not None else ()
    return b"0\r\n" + write_fields(fields)
