"""HTTP/1 rebuilt: requests and responses are read strictly, decided one by one, and written anew.

One exchange at a time goes to the origin; requests that are pipelined behind it wait in a bounded buffer.  What the
RFCs call an error ends the connection: a request with 400 (431, 501, 505), a response with 502.  After 101 or an
answered CONNECT it is a tunnel.  What a body is, and who is asked about it, `transaction` decides.
"""

from __future__ import annotations

from pointsman.engine.commands import Command, End
from pointsman.engine.events import Side
from pointsman.engine.messages import Headers, HttpFlow
from pointsman.engine.rebuild import NOBODY, Context
from pointsman.engine.rebuild_http1_carrier import Http1Carrier
from pointsman.engine.rebuild_http1_messages import (
    Persistence,
    new_request,
    new_response,
)
from pointsman.engine.rebuild_http1_plain import PlainExchange
from pointsman.engine.rebuild_tunnel import Tunnel, tunnel_after
from pointsman.engine.transaction import Transaction
from pointsman.engine.transaction_parts import block_page
from pointsman.policy.decision import Action
from pointsman.wire.http1_bodies import Body, ChunkedBody, EndlessBody, SizedBody
from pointsman.wire.http1_heads import (
    Facts,
    HeadError,
    RequestHead,
    ResponseHead,
    parse_request,
    parse_response,
    take_head,
    write_response,
)

EMPTY_LINES_LIMIT = 16  # before a request (RFC 9112 2.2)


class Http1Rebuild(Http1Carrier):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._plain = PlainExchange(context)
        self._empty_lines = 0

    # What the connection tells.

    def receive(self, side: Side, data: bytes, now: float) -> list[Command]:
        """The short way if it can be gone."""
        self._now = now
        plain = self._plain
        if plain.under_way:
            commands = plain.response(data, now) if side is Side.UPSTREAM else None
            if commands is not None:
                self._record_plain()
                return commands
            if plain.answered:
                return self._go_on_answered()
            self._take_over()
        elif side is Side.DOWNSTREAM and self._is_idle():
            commands = plain.request(data, now)
            if commands is not None:
                self.seen_request = True
                self._empty_lines = 0
                return commands
            if plain.answered:
                self.seen_request = True
                self._empty_lines = 0
                return self._go_on_answered()
        return self._received(side, data)

    def _go_on_answered(self) -> list[Command]:
        """The short way ends with an answer to its question."""
        plain = self._plain
        plain.answered, number = False, plain.number
        self._take_over()
        return self._answered(number)

    def _record_plain(self) -> None:
        if not self._plain.under_way:
            self.done.append(self._plain.exchange(self._now))

    def _is_idle(self) -> bool:
        """No exchange is under way, nothing waits, and nothing has ended."""
        return not (
            self._transaction is not None or self._tunnel is not None or self._from_app or self._from_origin
            or self._ended or self._congested or self._paused or self._closing or self.failure
        )  # fmt: skip

    def _take_over(self) -> None:
        """From the short way, as far as that has come."""
        plain = self._plain
        asking, number = plain.asking, plain.number
        transaction, body = plain.transaction(self, self._clock)
        self._transaction = transaction
        self._request_facts, self._persistence = Facts(), Persistence()
        self._request_body = self._response_body = None
        self._request_chunked = self._response_chunked = self._switching = False
        if asking:
            self._asked[number] = transaction
        if body is not None:
            self._from_origin += body
            self._response_body = SizedBody(len(body))

    def drained(self, side: Side, now: float) -> list[Command]:
        self._now = now
        self._congested.discard(side)
        if self._tunnel is not None:
            self._tunnel.drained(now)
        return self._went_on()

    def _received(self, side: Side, data: bytes) -> list[Command]:
        if self._tunnel is not None:
            self._tunnel.receive(side, data, self._now)
        elif not self._closing:
            self._waiting[side] += data
        return self._went_on()

    def _side_ended(self, side: Side) -> list[Command]:
        if self._plain.under_way:
            self._take_over()
        if side not in self._ended:
            self._ended.add(side)
            if self._tunnel is not None:
                self._tunnel.end(side, self._now)
            elif self._closing:
                self.finished = self.finished or side is Side.DOWNSTREAM
        return self._went_on()

    def consulted(self, number: int, now: float) -> list[Command]:
        """As `receive`."""
        self._now = now
        plain = self._plain
        if plain.under_way:
            if number != plain.number or not plain.asking:
                return []
            commands = plain.consulted(now)
            if commands is not None:
                if not plain.asking:
                    self._record_plain()
                return commands
            return self._go_on_answered()
        return self._answered(number)

    def _answered(self, number: int) -> list[Command]:
        transaction = self._asked.pop(number, None)
        if transaction is not None:
            try:
                transaction.consulted()
            except HeadError as error:
                self._refuse_message(error)
        elif self._tunnel is not None:
            self._tunnel.consulted(number, self._now)
        return self._went_on()

    def _was_late(self) -> list[Command]:
        if self._tunnel is None:
            return super()._was_late()
        self._tunnel.late(self._now)
        return self._went_on()

    def _cut_off(self, why: str) -> list[Command]:
        if self._plain.under_way:
            self._take_over()
        if self._tunnel is not None:
            self._tunnel.cut(self._now, why)
            self.done.extend(self._tunnel.take())
            self._out += self._tunnel.commands()
        elif self._transaction is not None:
            self._finish(why)
        return self._taken()

    # Going on as far as possible.

    def _went_on(self) -> list[Command]:
        if self._tunnel is None and not (self._closing or self.failure):
            try:
                while self._moves():
                    pass
            except HeadError as error:
                self._refuse_message(error)
        if self._tunnel is not None:
            self._follow_tunnel(self._tunnel)
        elif not (self._closing or self.failure):
            if self._ended:
                self._look_at_ends()
            self._hold_back()
        return self._taken()

    def _moves(self) -> bool:
        """Go on by what is here; True if that may have made more possible."""
        transaction = self._transaction
        if transaction is None:
            if self._from_origin:  # an answer to nothing: passing it on would make it the answer to the next request
                self._close()
                return False
            return bool(self._from_app) and Side.DOWNSTREAM not in self._congested and self._begin()
        moved = self._request_body is not None and self._read_request(transaction, self._request_body)
        if self._from_origin and self._transaction is transaction:
            moved |= self._read_response(transaction)
        else:
            moved |= self._transaction is None
        return moved and self._tunnel is None and not (self._closing or self.failure)

    # Requests.

    def _read_request(self, transaction: Transaction, body: Body) -> bool:
        waiting = self._from_app
        if transaction.blocked(Side.DOWNSTREAM):
            return False
        before = len(waiting)
        data = body.take(waiting)
        transaction.bytes_up += before - len(waiting)
        if data:
            transaction.request_data(data)
        if body.done:
            self._request_body = None
            transaction.request_end(Headers(body.trailers) if body.trailers else None)
            self._complete_if_done()
        return body.done or len(waiting) != before

    def _begin(self) -> bool:
        waiting = self._from_app
        self._persistence = Persistence()
        while waiting.startswith(b"\r\n"):
            del waiting[:2]
            self._empty_lines += 1
            if self._empty_lines > EMPTY_LINES_LIMIT:
                raise HeadError("nothing but empty lines")
        raw = take_head(waiting)
        if raw is None:
            return False
        head = parse_request(raw)
        self._empty_lines = 0
        self.seen_request = True
        self._open(head, len(raw))
        return True

    def _open(self, head: RequestHead, size: int) -> None:
        context, facts = self._context, head.facts
        request, host = new_request(head, context, self._now)
        decision = context.requests.decide(request.method, request.path, host)
        flow = HttpFlow(next(context.numbers), context.flow, decision.action.value, decision.rule_name, request)
        flow.facts = context.facts
        hooks = context.hooks() if decision.action is Action.INTERCEPT else NOBODY
        transaction = Transaction(flow, self, hooks, self._clock)
        transaction.started, transaction.bytes_up, transaction.host = self._now, size, host
        self._transaction = transaction
        self._request_facts = facts
        self._persistence = Persistence(request=facts.persists(head.minor))
        self._switching = request.method == "CONNECT" or facts.upgrade is not None
        self._request_body = (
            ChunkedBody() if facts.chunked else SizedBody(facts.length) if facts.length else None
        )  # fmt: skip
        if decision.action is Action.BLOCK:
            transaction.answer(block_page())
            if self._request_body is None:
                transaction.request_end(None)
                self._complete_if_done()
        else:
            transaction.request_head(has_body=self._request_body is not None)

    # Responses.

    def _read_response(self, transaction: Transaction) -> bool:
        waiting = self._from_origin
        if not transaction.asked_origin:
            if not transaction.answered_here:
                self._finish("the origin spoke before it was asked")
                self._close()
            return False
        if transaction.response_done or transaction.blocked(Side.UPSTREAM):
            return False
        if self._response_body is None:
            return self._read_response_head(transaction, waiting)
        before = len(waiting)
        data = self._response_body.take(waiting)
        transaction.bytes_down += before - len(waiting)
        if data:
            transaction.response_data(data)
        if self._response_body is not None and self._response_body.done:
            self._end_response_body(transaction)
        return len(waiting) != before

    def _read_response_head(self, transaction: Transaction, waiting: bytearray) -> bool:
        raw = take_head(waiting)
        if raw is None:
            return False
        head = parse_response(raw)
        transaction.bytes_down += len(raw)
        if head.status == 101:
            self._switch(transaction, head)
        elif head.status < 200:
            if transaction.flow.request.http_version != "HTTP/1.0":
                self._send(Side.DOWNSTREAM, write_response(head.status, head.reason, head.minor, head.fields))
        elif transaction.sent_method == "CONNECT" and head.status < 300:
            self._switch(transaction, head)
        else:
            self._open_response(transaction, head)
        return True

    def _open_response(self, transaction: Transaction, head: ResponseHead) -> None:
        self._switching = False
        facts = head.facts
        has_body = head.has_body(transaction.sent_method) and facts.length != 0
        if not has_body:
            self._response_body = None
        elif facts.chunked:
            self._response_body = ChunkedBody()
        elif facts.length is not None:
            self._response_body = SizedBody(facts.length)
        else:
            self._response_body = EndlessBody()
        self._persistence.response = facts.persists(head.minor) and not isinstance(self._response_body, EndlessBody)
        transaction.flow.response = new_response(head, self._context, self._now)
        transaction.response_head(has_body=has_body)

    def _end_response_body(self, transaction: Transaction) -> None:
        body, self._response_body = self._response_body, None
        assert body is not None, "it has just ended"
        transaction.response_end(Headers(body.trailers) if body.trailers else None)

    # Sides end.

    def _look_at_ends(self) -> None:
        transaction = self._transaction
        if transaction is not None and transaction.is_waiting:
            return
        if Side.UPSTREAM in self._ended:
            self._origin_ended(transaction)
        elif Side.DOWNSTREAM in self._ended:
            self._app_ended(transaction)

    def _origin_ended(self, transaction: Transaction | None) -> None:
        if transaction is not None and isinstance(self._response_body, EndlessBody):
            self._end_response_body(transaction)
            if transaction.is_waiting:
                return  # the hook; then we come back here
        if self._transaction is not None and not self._transaction.answered_here:
            self._finish(_why_cut(self._transaction))
        elif self._transaction is not None:
            return  # the rest of a request that we have answered ourselves
        self._close()

    def _app_ended(self, transaction: Transaction | None) -> None:
        if transaction is None:
            if not (self._waiting[Side.DOWNSTREAM] and Side.DOWNSTREAM in self._congested):
                self._close()
        elif self._request_body is not None:
            self._finish("the app closed in the middle of its request")
            self._close()
        elif transaction.asked_origin and not self._origin_told and not self._waiting[Side.DOWNSTREAM]:
            self._origin_told = True
            self._out.append(End(Side.UPSTREAM))

    # Leaving HTTP/1.

    def _switch(self, transaction: Transaction, head: ResponseHead) -> None:
        """101, or the answer to CONNECT."""
        if not self._switching:
            raise HeadError("101 that nobody asked for")
        transaction.flow.response = new_response(head, self._context, self._now)
        transaction.switch(lambda: self._switched(transaction, head))

    def _switched(self, transaction: Transaction, head: ResponseHead) -> None:
        """Whoever wants to know has seen it."""
        response = transaction.flow.response
        assert response is not None, "it is what they were asked about"
        if response.status_code != head.status:  # an addon refuses it
            self._persistence.response = False
            transaction.stay()
            return
        head.fields = response.headers.fields
        self._send(Side.DOWNSTREAM, write_response(head.status, head.reason, head.minor, head.fields))
        self._tunnel = tunnel_after(transaction, head, self._context, self._now, self._congested)
        self._finish(None)
        self._tunnel.start()
        for side, waiting in self._waiting.items():
            if waiting:
                self._tunnel.receive(side, bytes(waiting), self._now)
                waiting.clear()
            if side in self._ended:
                self._tunnel.end(side, self._now)

    def _follow_tunnel(self, tunnel: Tunnel) -> None:
        self._out += tunnel.commands()
        self.done.extend(tunnel.take())
        self.finished, self.deadline = self.finished or tunnel.finished, tunnel.deadline
        if tunnel.failure is not None and self.failure is None:
            self.failure, self.resets = tunnel.failure, tunnel.resets


def _why_cut(transaction: Transaction) -> str:
    if transaction.response_done:
        return "the origin closed before it had the whole request"
    return "the response was cut short" if transaction.flow.response is not None else "the origin closed without answer"
