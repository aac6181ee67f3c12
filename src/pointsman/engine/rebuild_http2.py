"""HTTP/2 rebuilt: both ends terminated, each stream of the app a stream to the origin, each request decided alone.

Flow control is our own on both sides: a side gets credit for a stream only while little waits for the other side's
stream, so memory is bounded by the windows whoever is slow.  DATA is passed on at once, which is what gRPC lives from.
What a body is, and who is asked about it, `transaction` decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pointsman.engine.commands import Command, Consult
from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.http2_end import (
    STREAMS_LIMIT,
    DataCame,
    HeadersCame,
    SettingsCame,
    StreamReset,
    WentAway,
)
from pointsman.engine.messages import Headers, HttpFlow
from pointsman.engine.rebuild import NOBODY
from pointsman.engine.rebuild_http2_carrier import Http2Carrier, Http2Stream
from pointsman.engine.rebuild_http2_messages import (
    PROTOCOL,
    MalformedError,
    content_length,
    new_request,
    new_response,
    new_trailers,
    response_fields,
)
from pointsman.engine.rebuild_websocket import HOOKS as WEBSOCKET_HOOKS
from pointsman.engine.transaction import Transaction
from pointsman.engine.transaction_parts import block_page
from pointsman.policy.decision import Action
from pointsman.wire.http2_messages import ErrorCode, Setting


class Http2Rebuild(Http2Carrier):
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
        if self._needs_no_more(side):
            return
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
            if self._needs_no_more(side):  # what TCP has put into the same piece counts no more than a piece behind it
                return

    def _needs_no_more(self, side: Side) -> bool:
        """The origin has gone away and answered all; an app is heard for as long as its windows hold answers back."""
        return self._origin_leaves and not self._streams and (side is Side.UPSTREAM or not self._leaving)

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

    def _replay(self, stream: Http2Stream, side: Side) -> None:
        waiting = stream.waiting[side]
        while waiting and not stream.transaction.blocked(side) and not stream.transaction.over:
            event = waiting.popleft()
            self._step(stream, partial(self._pass_in, stream, side, event))

    def _pass_in(self, stream: Http2Stream, side: Side, event: HeadersCame | DataCame) -> None:
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

    def _rest_of_request(self, stream: Http2Stream, event: HeadersCame | DataCame) -> Headers | None:
        """Its trailers, if this is them.  Raises MalformedError."""
        if isinstance(event, HeadersCame):
            return _trailers(stream, Side.DOWNSTREAM, event)
        self._count(stream, Side.DOWNSTREAM, len(event.data))
        if event.ends:
            _check_whole(stream, Side.DOWNSTREAM)
        return None

    def _count(self, stream: Http2Stream, side: Side, size: int) -> None:
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
            if protocol is not None and not self._extended_connect:
                raise MalformedError("an extended CONNECT that nobody has offered")
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
        flow.facts = context.facts
        if protocol is not None:
            flow.extra[PROTOCOL] = protocol.decode("latin-1")
        hooks = context.hooks() if decision.action is Action.INTERCEPT else NOBODY
        transaction = Transaction(flow, self, hooks, lambda: context.wall(self._now), self._gathered)
        transaction.started, transaction.host = self._now, host
        transaction.bytes_up = sum(len(name) + len(value) for name, value in event.fields)
        stream = Http2Stream(event.stream, transaction, protocol=protocol)
        stream.left[Side.DOWNSTREAM] = length
        self._streams[event.stream] = self._of[transaction] = stream
        if decision.action is Action.BLOCK:
            self._step(stream, lambda: transaction.answer(block_page()))
        else:
            self._step(stream, lambda: transaction.request_head(has_body=not event.ends))

    def _response(self, stream: Http2Stream, event: HeadersCame) -> None:
        response = new_response(event.fields, self._context, self._now)
        stream.transaction.bytes_down += sum(len(name) + len(value) for name, value in event.fields)
        if response.status_code < 200:
            if event.ends:
                raise MalformedError("an interim response that ends")
            self._down.sending.headers(stream.down, response_fields(response), end=False)
            return
        stream.got_head = True
        if stream.transaction.sent_method == "HEAD" or response.status_code in (204, 304):
            stream.left[Side.UPSTREAM] = 0  # whatever length it would have
        else:
            stream.left[Side.UPSTREAM] = content_length(response.headers)
            if event.ends and stream.left[Side.UPSTREAM]:
                raise MalformedError("less body than announced")
        stream.transaction.flow.response = response
        stream.transaction.response_head(has_body=not event.ends)

    def _record_refused(self, why: str) -> None:
        """A request that could not be read has neither method nor path."""
        self.done.append(Exchange("", "", self._context.host, None, 0, 0, self._now, self._now, why))

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
        if values.get(Setting.ENABLE_CONNECT_PROTOCOL) == 1 and not self._context.hooks() & WEBSOCKET_HOOKS:
            # Who listens to WebSockets hears those in HTTP/1.1, which is what an app falls back to.
            mirrored.append((int(Setting.ENABLE_CONNECT_PROTOCOL), 1))
            self._extended_connect = True
        if mirrored:
            self._down.announce(mirrored)

    # Streams and the connection end.

    def _step(self, stream: Http2Stream, step: Callable[[], None]) -> None:
        """What is wrong with one message ends its stream alone."""
        try:
            step()
        except MalformedError as error:
            self._malformed(stream, error)
        self._finish_if_done(stream)

    def _malformed(self, stream: Http2Stream, error: MalformedError) -> None:
        if stream.transaction.asked_origin:
            self.refuse(stream.transaction, f"refused: {error}")
        else:
            self._end_stream(stream, f"refused: {error}", ErrorCode.PROTOCOL_ERROR)


def _trailers(stream: Http2Stream, side: Side, event: HeadersCame) -> Headers:
    """Raises MalformedError."""
    if not event.ends:
        raise MalformedError("trailers that end nothing")
    _check_whole(stream, side)
    return new_trailers(event.fields)


def _check_whole(stream: Http2Stream, side: Side) -> None:
    if stream.left.get(side):
        raise MalformedError("less body than announced")


def _code(code: int, otherwise: ErrorCode) -> ErrorCode:
    return ErrorCode(code) if code in ErrorCode._value2member_map_ else otherwise
