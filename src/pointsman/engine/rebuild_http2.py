"""HTTP/2 rebuilt: both ends terminated, each stream of the app a stream to the origin, each request decided alone.

Flow control is our own on both sides: a side gets credit for a stream only while little waits for the other side's
stream, so memory is bounded by the windows whoever is slow.  DATA is passed on at once, which is what gRPC lives from.
What a body is, and who is asked about it, `transaction` decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pointsman.engine.commands import Command, Consult, End, Send
from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.http2_end import (
    STREAMS_LIMIT,
    DataCame,
    HeadersCame,
    Http2End,
    SettingsCame,
    StreamReset,
    WentAway,
)
from pointsman.engine.messages import Headers, HttpFlow, Response
from pointsman.engine.rebuild import LINGER, NOBODY, Context, Rebuild
from pointsman.engine.rebuild_http2_messages import (
    PROTOCOL,
    MalformedError,
    content_length,
    lowered,
    new_request,
    new_response,
    new_trailers,
    request_fields,
    response_fields,
)
from pointsman.engine.transaction import Gathered, Transaction, block_page
from pointsman.policy.decision import Action
from pointsman.wire.http2_messages import ErrorCode, Http2Error, Setting

QUEUE_LIMIT = 64 * 1024  # bytes waiting for one side of a stream; above that the other side gets no credit


@dataclass(slots=True, eq=False)
class _Stream:
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
    protocol: bytes | None = None


class Http2Rebuild(Rebuild):
    protocol = "h2"

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._ends = {Side.DOWNSTREAM: Http2End(is_server=True), Side.UPSTREAM: Http2End(is_server=False)}
        self._down, self._up = self._ends[Side.DOWNSTREAM], self._ends[Side.UPSTREAM]
        self._streams: dict[int, _Stream] = {}
        """By their number at the app."""
        self._by_up: dict[int, _Stream] = {}
        self._of: dict[Transaction, _Stream] = {}
        self._asked: dict[int, _Stream] = {}
        self._owing: dict[int, _Stream] = {}
        """Streams that may be owed credit."""
        self._leaving: dict[int, None] = {}
        """Streams of the app whose exchange is over and whose last bytes wait for its window."""
        self._out: list[Command] = []
        self._gathered = Gathered()
        self._ended: set[Side] = set()
        self._origin_leaves = False
        """It takes no more streams."""
        self._closing = False

    # What the connection tells.

    def congested(self, side: Side) -> None:
        super().congested(side)
        self._ends[side].sending.congested = True

    def _started(self) -> list[Command]:
        self._down.begin()
        self._up.begin()
        return self._taken()

    def _received(self, side: Side, data: bytes) -> list[Command]:
        if not self._closing:
            self._guarded(side, lambda: self._take_in(side, data))
        return self._taken()

    def _side_ended(self, side: Side) -> list[Command]:
        if side in self._ended:
            return []
        self._ended.add(side)
        if not self._closing:
            who = "app" if side is Side.DOWNSTREAM else "origin"
            self._origin_leaves = True
            for stream in list(self._streams.values()):
                self._end_stream(stream, f"the {who} closed the connection", ErrorCode.CANCEL)
            if side is Side.DOWNSTREAM:
                self._close()
            else:
                self._down.go_away(self._down.highest, ErrorCode.NO_ERROR)
        self.finished = self.finished or side is Side.DOWNSTREAM
        return self._taken()

    def _went_on(self) -> list[Command]:
        for side in Side:
            if side not in self._congested:
                self._ends[side].sending.drained()
        return self._taken()

    def _answered(self, number: int) -> list[Command]:
        stream = self._asked.pop(number, None)
        if stream is not None and not self._closing:
            self._step(stream, stream.transaction.consulted)
            for side in Side:
                self._replay(stream, side)
        return self._taken()

    def _cut_off(self, why: str) -> list[Command]:
        for stream in list(self._streams.values()):
            self._end_stream(stream, why, ErrorCode.CANCEL)
        out, self._out = self._out, []
        return [command for command in out if isinstance(command, Consult)]

    # What comes in.

    def _take_in(self, side: Side, data: bytes) -> None:
        for event in self._ends[side].receive(data, self._now):
            match event:
                case HeadersCame() | DataCame():
                    self._of_stream(side, event)
                case StreamReset(number, code):
                    self._was_reset(side, number, code)
                case WentAway(last, code):
                    self._went_away(side, last, code)
                case SettingsCame(values):
                    self._settings_came(side, values)

    def _of_stream(self, side: Side, event: HeadersCame | DataCame) -> None:
        stream = (self._streams if side is Side.DOWNSTREAM else self._by_up).get(event.stream)
        if stream is not None and isinstance(event, DataCame):
            self._owing[stream.down] = stream
        if stream is None:
            if side is Side.DOWNSTREAM and isinstance(event, HeadersCame) and event.is_first:
                self._open(event)
            else:
                self._ends[side].credit(event.stream)
        elif stream.waiting[side] or stream.transaction.blocked(side):
            stream.waiting[side].append(event)
        else:
            self._step(stream, partial(self._pass_in, stream, side, event))

    def _replay(self, stream: _Stream, side: Side) -> None:
        waiting = stream.waiting[side]
        while waiting and not stream.transaction.blocked(side) and not stream.transaction.over:
            event = waiting.popleft()
            self._step(stream, partial(self._pass_in, stream, side, event))

    def _pass_in(self, stream: _Stream, side: Side, event: HeadersCame | DataCame) -> None:
        if side is Side.DOWNSTREAM:
            try:
                trailers = self._rest_of_request(stream, event)
            except MalformedError as error:
                # RFC 9113 8.1.1.  A page instead would say that the origin is at fault.
                self._end_stream(stream, f"refused: {error}", ErrorCode.PROTOCOL_ERROR)
                return
            if isinstance(event, DataCame):
                stream.transaction.request_data(event.data)
            if event.ends:
                stream.transaction.request_end(trailers)
            return
        transaction = stream.transaction
        if isinstance(event, DataCame):
            if not stream.got_head:
                raise MalformedError("a body without a head")
            self._count(stream, side, len(event.data))
            transaction.response_data(event.data)
            if event.ends:
                _check_whole(stream, side)
                transaction.response_end(None)
        elif stream.got_head:
            transaction.response_end(_trailers(stream, side, event))
        else:
            self._response(stream, event)

    def _rest_of_request(self, stream: _Stream, event: HeadersCame | DataCame) -> Headers | None:
        """Its trailers, if this is them.  Raises MalformedError."""
        if isinstance(event, HeadersCame):
            return _trailers(stream, Side.DOWNSTREAM, event)
        self._count(stream, Side.DOWNSTREAM, len(event.data))
        if event.ends:
            _check_whole(stream, Side.DOWNSTREAM)
        return None

    def _count(self, stream: _Stream, side: Side, size: int) -> None:
        if side is Side.DOWNSTREAM:
            stream.transaction.bytes_up += size
        else:
            stream.transaction.bytes_down += size
        left = stream.left.get(side)
        if left is not None:
            if size > left:
                raise MalformedError("more body than announced")
            stream.left[side] = left - size

    def _open(self, event: HeadersCame) -> None:
        context = self._context
        self.seen_request = True
        try:
            request, host, protocol = new_request(event.fields, context, self._now)
            length = content_length(request.headers)
            if length and event.ends:
                raise MalformedError("less body than announced")
        except MalformedError as error:
            self._down.reset(event.stream, ErrorCode.PROTOCOL_ERROR)
            self._record_refused(f"refused: {error}")
            return
        if self._origin_leaves:
            self._down.reset(event.stream, ErrorCode.REFUSED_STREAM)
            return
        decision = context.requests.decide(request.method, request.path, host)
        flow = HttpFlow(next(context.numbers), context.flow, decision.action.value, decision.rule_name, request)
        if protocol is not None:
            flow.extra[PROTOCOL] = protocol.decode("latin-1")
        hooks = context.hooks() if decision.action is Action.INTERCEPT else NOBODY
        transaction = Transaction(flow, self, hooks, lambda: context.wall(self._now), self._gathered)
        transaction.started, transaction.host = self._now, host
        transaction.bytes_up = sum(len(name) + len(value) for name, value in event.fields)
        stream = _Stream(event.stream, transaction, protocol=protocol)
        stream.left[Side.DOWNSTREAM] = length
        self._streams[event.stream] = self._of[transaction] = stream
        if decision.action is Action.BLOCK:
            self._step(stream, lambda: transaction.answer(block_page()))
        else:
            self._step(stream, lambda: transaction.request_head(has_body=not event.ends))

    def _response(self, stream: _Stream, event: HeadersCame) -> None:
        response = new_response(event.fields, self._context, self._now)
        stream.transaction.bytes_down += sum(len(name) + len(value) for name, value in event.fields)
        if response.status_code < 200:
            if event.ends:
                raise MalformedError("an interim response that ends")
            self._down.sending.headers(stream.down, response_fields(response), end=False)
            return
        stream.got_head = True
        method = stream.transaction.flow.request.method
        if method != "HEAD" and response.status_code != 304:
            stream.left[Side.UPSTREAM] = content_length(response.headers)
            if event.ends and stream.left[Side.UPSTREAM]:
                raise MalformedError("less body than announced")
        stream.transaction.flow.response = response
        stream.transaction.response_head(has_body=not event.ends)

    def _record_refused(self, why: str) -> None:
        """A request that could not be read has neither method nor path."""
        self._done.append(Exchange("", "", self._context.host, None, 0, 0, self._now, self._now, why))

    def _was_reset(self, side: Side, number: int, code: int) -> None:
        stream = (self._streams if side is Side.DOWNSTREAM else self._by_up).get(number)
        if stream is None:
            return
        known = _code(code, ErrorCode.CANCEL)
        name = known.name if known == code else f"error 0x{code:x}"
        who = "app" if side is Side.DOWNSTREAM else "origin"
        if side is Side.UPSTREAM and code == ErrorCode.NO_ERROR and stream.transaction.response_done:
            return  # RFC 9113 8.1: the rest of the request is not needed; the answer may still be on its way
        self._end_stream(stream, f"reset by the {who} ({name})", known)

    def _went_away(self, side: Side, last: int, code: int) -> None:
        if side is Side.DOWNSTREAM:
            return  # it opens no more streams; those that are open end in their time
        self._origin_leaves = True
        for stream in list(self._streams.values()):
            if stream.up is None or stream.up > last:
                self._end_stream(stream, "not processed: the origin goes away", ErrorCode.REFUSED_STREAM)
        self._down.go_away(self._down.highest, _code(code, ErrorCode.NO_ERROR))

    def _settings_came(self, side: Side, values: dict[int, int]) -> None:
        if side is Side.DOWNSTREAM:
            return
        mirrored: list[tuple[int, int]] = []
        if Setting.MAX_CONCURRENT_STREAMS in values:
            limit = min(values[Setting.MAX_CONCURRENT_STREAMS], STREAMS_LIMIT)
            mirrored.append((int(Setting.MAX_CONCURRENT_STREAMS), limit))
        if values.get(Setting.ENABLE_CONNECT_PROTOCOL) == 1:
            mirrored.append((int(Setting.ENABLE_CONNECT_PROTOCOL), 1))
        if mirrored:
            self._down.announce(mirrored)

    # What a transaction wants sent.

    def ask(self, hook: str, transaction: Transaction) -> None:
        number = next(self._context.numbers)
        if hook != "error":
            self._asked[number] = self._of[transaction]
        self._out.append(Consult(number, hook, transaction.flow))

    def send_request(self, transaction: Transaction, *, whole: bool) -> None:
        stream, request = self._of[transaction], transaction.flow.request
        limit = self._up.peer.get(Setting.MAX_CONCURRENT_STREAMS, STREAMS_LIMIT)
        if self._origin_leaves or self._up.open_streams >= limit:
            self._end_stream(stream, "the origin takes no more streams", ErrorCode.REFUSED_STREAM)
            return
        fields = request_fields(request, stream.protocol)
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
        carries_body = transaction.flow.request.method != "HEAD" and response.status_code not in (204, 304)
        body = response.raw_content if whole and carries_body else None
        ends = whole and not body and response.trailers is None
        fields = response_fields(response)
        stream.begun = True
        self._down.sending.headers(stream.down, fields, end=ends, secret=self._up.secret)
        if body:
            self._down.sending.data(stream.down, body)

    def send_response_data(self, transaction: Transaction, data: bytes) -> None:
        self._down.sending.data(self._of[transaction].down, data)

    def end_response(self, transaction: Transaction) -> None:
        stream, response = self._of[transaction], transaction.flow.response
        trailers = response.trailers if response is not None else None
        self._down.sending.end(stream.down, lowered(trailers.fields) if trailers is not None else None)

    def reset(self, transaction: Transaction, why: str) -> None:
        self._end_stream(self._of[transaction], why, ErrorCode.CANCEL)

    # Streams and the connection end.

    def _step(self, stream: _Stream, step: Callable[[], None]) -> None:
        """What is wrong with one message ends its stream alone."""
        try:
            step()
        except MalformedError as error:
            self._malformed(stream, error)
        self._finish_if_done(stream)

    def _malformed(self, stream: _Stream, error: MalformedError) -> None:
        transaction = stream.transaction
        if transaction.asked_origin and not stream.begun:
            why = f"refused: {error}"
            page = Response(502, "", "HTTP/2.0", Headers([(b"content-type", b"text/plain; charset=utf-8")]))
            transaction.flow.response = page
            text = f"502 Bad Gateway: {why}\n".encode()
            self._down.sending.headers(stream.down, response_fields(page), end=False)
            self._down.sending.data(stream.down, text)
            self._down.sending.end(stream.down, None)
            self._drop(stream, why, ErrorCode.PROTOCOL_ERROR, keep_app=True)
        else:
            self._end_stream(stream, f"refused: {error}", ErrorCode.PROTOCOL_ERROR)

    def _finish_if_done(self, stream: _Stream) -> None:
        transaction = stream.transaction
        if not transaction.response_done or transaction.over:
            return
        # An answer that came before the end of the request makes the rest of it needless (RFC 9113 8.1).
        self._drop(stream, None, ErrorCode.NO_ERROR, keep_app=True)

    def _end_stream(self, stream: _Stream, why: str, code: ErrorCode) -> None:
        self._drop(stream, why, code, keep_app=False)

    def _drop(self, stream: _Stream, why: str | None, code: ErrorCode, *, keep_app: bool) -> None:
        """The exchange is over.  `keep_app`: what waits for the app is still to be sent."""
        if self._streams.pop(stream.down, None) is None:
            return
        if stream.up is not None:
            del self._by_up[stream.up]
            if self._up.sending.is_done(stream.up) and why is None:
                self._up.close_if_done(stream.up)
            else:
                self._up.reset(stream.up, ErrorCode.CANCEL if why is None else code)
        if keep_app:
            self._leaving[stream.down] = None
        else:
            self._down.reset(stream.down, code)
        self._done.append(stream.transaction.exchange(self._now, why))
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


def _trailers(stream: _Stream, side: Side, event: HeadersCame) -> Headers:
    """Raises MalformedError."""
    if not event.ends:
        raise MalformedError("trailers that end nothing")
    _check_whole(stream, side)
    return new_trailers(event.fields)


def _check_whole(stream: _Stream, side: Side) -> None:
    if stream.left.get(side):
        raise MalformedError("less body than announced")


def _code(code: int, otherwise: ErrorCode) -> ErrorCode:
    return ErrorCode(code) if code in ErrorCode._value2member_map_ else otherwise
