"""The sending half of HTTP/2 rebuilt: what transactions want sent, who gets credit, how streams and the connection end.

It knows which streams are open on both sides; what to make of frames that arrive is `rebuild_http2`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pointsman.engine.commands import Command, Consult, End, Send
from pointsman.engine.events import Side
from pointsman.engine.framing import carries_body
from pointsman.engine.http2_end import STREAMS_LIMIT, DataCame, HeadersCame, Http2End
from pointsman.engine.messages import Headers, Response
from pointsman.engine.rebuild import LINGER, Context, Rebuild
from pointsman.engine.rebuild_http2_messages import lowered, request_fields, response_fields
from pointsman.engine.transaction import Transaction
from pointsman.engine.transaction_parts import Gathered
from pointsman.wire.hpack import Field
from pointsman.wire.http2_messages import ErrorCode, Http2Error, Setting

QUEUE_LIMIT = 64 * 1024  # bytes waiting for one side of a stream; above that the other side gets no credit


@dataclass(slots=True, eq=False)
class Http2Stream:
    down: int
    """Its number at the app."""
    transaction: Transaction
    up: int | None = None
    """Its number at the origin, once that was asked."""
    waiting: dict[Side, deque[HeadersCame | DataCame]] = field(default_factory=lambda: {side: deque() for side in Side})
    """What came from a side while somebody was asked."""
    left: dict[Side, int | None] = field(default_factory=dict)
    """Bytes that a side has announced and not sent."""
    got_head: bool = False
    """The response's, the final one."""
    begun: bool = False
    """The app has got a part of its answer."""
    wants_no_more: bool = False
    """What the origin still sends is for nobody."""
    protocol: bytes | None = None


class Http2Carrier(Rebuild):
    """`transaction.Carrier`, and the state that both halves share."""

    protocol = "h2"

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._ends = {Side.DOWNSTREAM: Http2End(is_server=True), Side.UPSTREAM: Http2End(is_server=False)}
        self._down, self._up = self._ends[Side.DOWNSTREAM], self._ends[Side.UPSTREAM]
        self._streams: dict[int, Http2Stream] = {}
        """By their number at the app."""
        self._by_up: dict[int, Http2Stream] = {}
        self._of: dict[Transaction, Http2Stream] = {}
        self._asked: dict[int, Http2Stream] = {}
        self._owing: dict[int, Http2Stream] = {}
        """Streams that may be owed credit."""
        self._leaving: dict[int, None] = {}
        """Streams of the app whose exchange is over and whose last bytes wait for its window."""
        self._out: list[Command] = []
        self._gathered = Gathered()
        self._ended: set[Side] = set()
        self._origin_leaves = False
        """It takes no more streams."""
        self._extended_connect = False
        """It takes extended CONNECT (RFC 8441), and the app knows."""
        self._closing = False

    # What a transaction wants sent.

    def ask(self, hook: str, transaction: Transaction, *, waits: bool) -> None:
        number = next(self._context.numbers)
        if waits:
            self._asked[number] = self._of[transaction]
        self._out.append(Consult(number, hook, transaction.flow))

    def send_request(self, transaction: Transaction, *, whole: bool) -> None:
        stream, request = self._of[transaction], transaction.flow.request
        limit = self._up.peer.get(Setting.MAX_CONCURRENT_STREAMS, STREAMS_LIMIT)
        if self._origin_leaves or self._up.open_streams >= limit:
            self._end_stream(stream, "the origin takes no more streams", ErrorCode.REFUSED_STREAM)
            return
        fields = request_fields(request, stream.protocol)
        if request.trailers is not None and stream.left.get(Side.DOWNSTREAM) is None:
            fields = _without_length(fields)
        stream.up = self._up.open()
        self._by_up[stream.up] = stream
        body = request.raw_content if whole else None
        ends = whole and not body and request.trailers is None
        self._up.sending.headers(stream.up, fields, end=ends, secret=self._down.secret)
        if whole and not ends:
            self._up.sending.data(stream.up, body or b"")
            self.end_request(transaction)

    def send_request_data(self, transaction: Transaction, data: bytes) -> None:
        up = self._of[transaction].up
        if up is not None:
            self._up.sending.data(up, data)

    def end_request(self, transaction: Transaction) -> None:
        up, trailers = self._of[transaction].up, transaction.flow.request.trailers
        if up is not None:
            self._up.sending.end(up, lowered(trailers.fields) if trailers is not None else None)

    def invite_body(self, transaction: Transaction) -> None:
        headers = transaction.flow.request.headers
        if headers.get_all("expect") == ["100-continue"]:
            del headers["expect"]
            self._down.sending.headers(self._of[transaction].down, [(b":status", b"100")], end=False)

    def send_response(self, transaction: Transaction, *, whole: bool) -> None:
        stream, response = self._of[transaction], transaction.flow.response
        assert response is not None, "there is one to be sent"
        has_body = carries_body(transaction.app_method, response.status_code)
        body = response.raw_content if whole and has_body else None
        ends = whole and not body and response.trailers is None
        fields = response_fields(response)
        if response.trailers is not None and stream.left.get(Side.UPSTREAM) is None:
            fields = _without_length(fields)
        stream.begun = True
        self._down.sending.headers(stream.down, fields, end=ends, secret=self._up.secret)
        if body:
            self._down.sending.data(stream.down, body)

    def skip_response_body(self, transaction: Transaction) -> bool:
        self._of[transaction].wants_no_more = True
        return False

    def send_response_data(self, transaction: Transaction, data: bytes) -> None:
        self._down.sending.data(self._of[transaction].down, data)

    def end_response(self, transaction: Transaction) -> None:
        stream, response = self._of[transaction], transaction.flow.response
        trailers = response.trailers if response is not None else None
        self._down.sending.end(stream.down, lowered(trailers.fields) if trailers is not None else None)

    def reset(self, transaction: Transaction, why: str) -> None:
        self._end_stream(self._of[transaction], why, ErrorCode.CANCEL)

    def refuse(self, transaction: Transaction, why: str) -> None:
        stream = self._of[transaction]
        if stream.begun:
            self._end_stream(stream, why, ErrorCode.PROTOCOL_ERROR)
            return
        page = Response(502, "", "HTTP/2.0", Headers([(b"content-type", b"text/plain; charset=utf-8")]))
        transaction.flow.response = page
        self._down.sending.headers(stream.down, response_fields(page), end=False)
        self._down.sending.data(stream.down, f"502 Bad Gateway: {why}\n".encode())
        self._down.sending.end(stream.down, None)
        self._drop(stream, why, ErrorCode.PROTOCOL_ERROR, keep_app=True)

    # Streams and the connection end.

    def _finish_if_done(self, stream: Http2Stream) -> None:
        transaction = stream.transaction
        if not transaction.response_done or transaction.over:
            return
        # An answer that came before the end of the request makes the rest of it needless (RFC 9113 8.1).
        self._drop(stream, None, ErrorCode.NO_ERROR, keep_app=True)

    def _end_stream(self, stream: Http2Stream, why: str, code: ErrorCode) -> None:
        self._drop(stream, why, code, keep_app=False)

    def _drop(self, stream: Http2Stream, why: str | None, code: ErrorCode, *, keep_app: bool) -> None:
        """The exchange is over.  `keep_app`: what waits for the app is still to be sent."""
        if self._streams.pop(stream.down, None) is None:
            return
        if stream.up is not None:
            del self._by_up[stream.up]
            if self._up.sending.is_done(stream.up) and why is None and not stream.wants_no_more:
                self._up.close_if_done(stream.up)
            else:
                self._up.reset(stream.up, ErrorCode.CANCEL if why is None else code)
        if keep_app:
            self._leaving[stream.down] = None
        else:
            self._down.reset(stream.down, code)
        self.done.append(stream.transaction.exchange(self._now, why))
        stream.transaction.finish(why)
        del self._of[stream.transaction]

    def _guarded(self, side: Side, step: Callable[[], None]) -> None:
        try:
            step()
        except Http2Error as error:
            self._fail(side, error)

    def _fail(self, side: Side, error: Http2Error) -> None:
        """This side has broken a rule that concerns the whole connection."""
        why = f"HTTP/2 {side.value}: {error}"
        self._closing = True
        self._ends[side].sending.drained()  # a few more frames, whether it reads or not
        for stream in list(self._streams.values()):
            self._end_stream(stream, why, ErrorCode.INTERNAL_ERROR)
        self._ends[side].go_away(self._ends[side].highest if side is Side.DOWNSTREAM else 0, error.code)
        self.failure = why

    def _close(self) -> None:
        self._closing = True
        self._out += [End(Side.DOWNSTREAM), End(Side.UPSTREAM)]
        self.deadline = self._now + LINGER

    # What goes to the connection.

    def _taken(self) -> list[Command]:
        """What is to be done now: what the windows let out, and credit for what has gone."""
        sent: list[Command] = []
        for _ in range(2):  # credit and goodbyes make frames
            for side, end in self._ends.items():
                data = b""
                try:
                    data = end.sending.take()
                except Http2Error as error:
                    self._fail(side, error)
                if data and not (side is Side.UPSTREAM and side in self._ended):
                    sent.append(Send(side, data))
            self._guarded(Side.DOWNSTREAM, self._credit)
            self._guarded(Side.DOWNSTREAM, self._say_goodbye)
        if self._origin_leaves and not (self._streams or self._leaving or self._closing):
            self._close()
        out, self._out = self._out, []
        return sent + out

    def _credit(self) -> None:
        for number, stream in list(self._owing.items()):
            if self._streams.get(number) is not stream:
                del self._owing[number]
                continue
            blocked = stream.transaction.blocked
            if not blocked(Side.DOWNSTREAM) and (stream.up is None or self._up.sending.queued(stream.up) < QUEUE_LIMIT):
                self._down.credit(number)
            if stream.up is not None:
                if not blocked(Side.UPSTREAM) and self._down.sending.queued(number) < QUEUE_LIMIT:
                    self._up.credit(stream.up)
                if self._up.owes(stream.up):
                    continue
            if not self._down.owes(number):
                del self._owing[number]

    def _say_goodbye(self) -> None:
        for number in [number for number in self._leaving if self._down.sending.is_done(number)]:
            del self._leaving[number]
            self._down.close_if_done(number)
            self._down.reset(number, ErrorCode.NO_ERROR)  # if the request is not at its end


def _without_length(fields: list[Field]) -> list[Field]:
    """The sender has named none, and who is told one may stop reading there (curl does), before the trailers."""
    return [field for field in fields if field[0] != b"content-length"]
