"""The short way of an exchange whose request has no body and whose response comes whole, HTTP/1.1 as most of it is.

What it sends, asks and records is what `rebuild_http1` would with a `Transaction`; it only makes no objects that nobody
looks at.  Whenever something is not plain (a message in pieces, an answer by a listener, a body that is to be streamed)
it says None, and `transaction` gives the exchange over as it is to the long way.
"""

from __future__ import annotations

from collections.abc import Callable

from pointsman.engine.commands import Command, Consult, Send
from pointsman.engine.events import DOWNSTREAM, UPSTREAM
from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.engine.framing import is_endless, tells
from pointsman.engine.messages import Field, Headers, HttpFlow, Request, Response
from pointsman.engine.rebuild import NOBODY, Context
from pointsman.engine.transaction import Transaction
from pointsman.engine.transaction_parts import Carrier
from pointsman.policy.decision import Action, Decision
from pointsman.wire.http1_heads import HeadError, write_fields, write_request, write_response
from pointsman.wire.http1_plain import RequestReader, read_response
from pointsman.wire.http_head import host_of_authority

SIZE_LIMIT = 1024 * 1024  # bytes of a response that goes this way
_OTHER_METHODS = (b"CONNECT", b"HEAD")
_BODILESS = (204, 304)


class PlainExchange:
    """One for a connection: an exchange begins with `request` and is over when `under_way` is False again."""

    __slots__ = (
        "_action", "_authority", "_body", "_context", "_decision", "_fields", "_flow", "_head_size", "_hooks", "_host",
        "_host_field", "_known_host", "_line", "_method", "_reader", "_request", "_response_fields", "_rule",
        "_size_down", "_started", "_status", "_target", "answered", "asking", "number", "under_way",
    )  # fmt: skip

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = RequestReader()
        self.under_way = False
        self.asking = ""
        """The hook whose listeners are being asked."""
        self.number = 0
        """Of that question."""
        self.answered = False
        """It was, at once, and what was answered is to go on the long way."""
        self._host_field = b""
        self._authority = ""
        self._known_host: str | None = None
        self._decision: Decision | None = None
        self._action = self._rule = ""
        """Its names: asking an Enum for one takes longer than remembering it."""
        self._flow: HttpFlow | None = None
        self._status = 0
        self._body = b""

    # What arrives.  None: go the long way, with what has arrived; or if `answered`, with that answer.

    def request(self, data: bytes, now: float) -> list[Command] | None:
        """`data` is all that is here, and no exchange is under way."""
        read = self._reader.read(data)
        if read is None:
            return None
        method, target, host_field, fields = read
        if method in _OTHER_METHODS:
            return None
        if host_field != self._host_field:
            self._host_field, self._authority = host_field, _text(host_field)
            self._known_host = host_of_authority(self._authority) if host_field else None
        context = self._context
        self._method, self._target, self._host = method.decode("ascii"), _text(target), self._known_host
        decision = context.requests.decide(self._method, self._target, self._host)
        if decision is not self._decision:
            self._decision, self._action, self._rule = decision, decision.action.value, decision.rule_name
        if decision.action is Action.BLOCK:
            return None
        self._hooks = hooks = context.hooks() if decision.action is Action.INTERCEPT else NOBODY
        self._started, self._request, self._fields = now, data, fields
        self.under_way = True
        if hooks:
            if "requestheaders" in hooks:
                return self._ask("requestheaders", self._made_flow(), now)
            if "request" in hooks:
                return self._ask("request", self._with_empty_body(self._made_flow()), now)
        return [Send(UPSTREAM, data)]

    def response(self, data: bytes, now: float) -> list[Command] | None:
        """`data` is all that is here."""
        flow, hooks = self._flow, self._hooks
        read = read_response(data) if not self.asking and len(data) <= SIZE_LIMIT else None
        if read is None or (flow is not None and not _expects_response(flow.request)):
            return None
        self._status, reason, fields, begin = read
        self._size_down, self._head_size = len(data), begin
        wants_head, wants_whole = "responseheaders" in hooks, "response" in hooks
        if not (wants_head or wants_whole):
            if flow is not None:
                flow.response = self._response(reason, fields, now)
            self.under_way = False
            return [Send(DOWNSTREAM, data)]
        headers = Headers.of_block(fields)
        if wants_whole and not wants_head and is_endless(headers):
            return None
        if flow is None:
            flow = self._with_empty_body(self._made_flow())
        flow.response = self._response(reason, fields, now)
        self._response_fields, self._line = fields, b"HTTP/1.1 %d %b\r\n" % (self._status, reason)
        self._body = data[begin:]
        return (
            self._ask("responseheaders", flow, now)
            if wants_head
            else self._ask_whole(flow, flow.response.timestamp_start, now)
        )

    def consulted(self, now: float) -> list[Command] | None:
        """The question `number` has been answered."""
        flow, hook = self._flow, self.asking
        assert flow is not None, "it was asked about"
        if flow.killed:
            return None
        if hook == "requestheaders" and "request" in self._hooks:
            if flow.response is not None:
                return None
            return self._ask("request", self._with_empty_body(flow, now), now)
        if hook in ("requestheaders", "request"):
            return self._request_allowed(flow, now)
        response = flow.response
        if response is None:
            return None
        if hook == "responseheaders":
            if response.stream or is_endless(response.headers):
                return None
            if "response" in self._hooks:
                return self._ask_whole(flow, self._context.wall(now), now)
            body, response.trailers, response.timestamp_end = self._body, None, self._context.wall(now)
            length = self._size_down - self._head_size
        else:
            body = response.raw_content or b""
            length = len(body)
        head = self._response_head(flow.request, response, length)
        if head is None:
            return None
        self._status = response.status_code
        self.asking, self.under_way, self._body = "", False, b""
        return [Send(DOWNSTREAM, head + body)]

    # How it ends.

    def exchange(self, now: float) -> Exchange:
        """Once it is over: what the flow record says of it."""
        flow = self._flow
        method, target = self._method, self._target
        if flow is not None:
            method, target = flow.request.method, flow.request.path
            self._flow = None
        return Exchange(
            method, target[:PATH_LIMIT], self._host, self._status, len(self._request), self._size_down,
            self._started, now, None, None, self._action, self._rule,
        )  # fmt: skip

    def transaction(self, carrier: Carrier, clock: Callable[[], float]) -> tuple[Transaction, bytes | None]:
        """The same for the long way, as far as it has come, and what is here of the response's body: it is looked at
        after `responseheaders`."""
        flow = self._flow or self._with_empty_body(self._made_flow())
        made = Transaction(flow, carrier, self._hooks, clock)
        made.started, made.bytes_up, made.host = self._started, len(self._request), self._host
        made.app_method = self._method
        body = None
        if self.asking == "responseheaders":
            made.bytes_down, body = self._head_size, self._body
        elif self.asking == "response":
            made.bytes_down = self._size_down
        made.resume(self.asking, self._status, len(self._body))
        self.under_way, self.asking, self._flow, self._body = False, "", None, b""
        return made, body

    def _request_allowed(self, flow: HttpFlow, now: float) -> list[Command] | None:
        if flow.response is not None:
            return None
        request = flow.request
        if self.asking == "requestheaders":
            self._with_empty_body(flow, now)
        if request.raw_content or request.trailers is not None or request.http_version != "HTTP/1.1":
            return None
        head = self._request_head(request)
        if head is not None:
            self.asking = ""
            return [Send(UPSTREAM, head)]
        return None

    def _request_head(self, request: Request) -> bytes | None:
        headers = request.headers
        if request.authority != self._authority or request.method == "CONNECT":
            return None
        added = headers.added_to(self._fields)
        try:
            if added is None:
                if not _keeps(headers.fields, b"host", self._host_field):
                    return None
                return write_request(_raw(request.method), _raw(request.path), 1, headers.fields)
            if tells(added):
                return None
            if request.method != self._method or request.path != self._target:
                return write_request(_raw(request.method), _raw(request.path), 1, headers.fields)
            return self._request[:-2] + write_fields(added) if added else self._request
        except HeadError:
            return None  # the long way says what is wrong

    def _response_head(self, request: Request, response: Response, length: int) -> bytes | None:
        """None: something about its framing is to be looked at."""
        if (
            not _expects_response(request) or response.http_version != "HTTP/1.1" or response.trailers is not None
            or response.status_code in _BODILESS or response.status_code < 200
        ):  # fmt: skip
            return None
        headers = response.headers
        added = headers.added_to(self._response_fields) if length == self._size_down - self._head_size else None
        try:
            if added is None:
                if not _keeps(headers.fields, b"content-length", b"%d" % length):
                    return None
                return write_response(response.status_code, _raw(response.reason), 1, headers.fields)
            if tells(added):
                return None
            line = b"HTTP/1.1 %d %b\r\n" % (response.status_code, _raw(response.reason))
            if line != self._line:
                return write_response(response.status_code, _raw(response.reason), 1, headers.fields)
            return line + self._response_fields + write_fields(added)
        except HeadError:
            return None

    # Questions.

    def _ask(self, hook: str, flow: HttpFlow, now: float) -> list[Command] | None:
        self.asking = hook
        self.number = number = next(self._context.numbers)
        if not self._context.answer(hook, flow):
            return [Consult(number, hook, flow)]
        commands = self.consulted(now)
        self.answered = commands is None
        return commands

    def _ask_whole(self, flow: HttpFlow, ended: float, now: float) -> list[Command] | None:
        response = flow.response
        assert response is not None, "it is what they are asked about"
        response.raw_content, response.trailers, response.timestamp_end = self._body, None, ended
        self._body = b""
        return self._ask("response", flow, now)

    def _made_flow(self) -> HttpFlow:
        context = self._context
        request = Request(
            self._method, context.scheme, self._authority, self._target, "HTTP/1.1",
            Headers.of_block(self._fields), None, None, context.wall(self._started),
        )  # fmt: skip
        self._flow = flow = HttpFlow(next(context.numbers), context.flow, self._action, self._rule, request)
        flow.facts = context.facts
        return flow

    def _with_empty_body(self, flow: HttpFlow, now: float | None = None) -> HttpFlow:
        """`now`: if that is later than its beginning."""
        request = flow.request
        request.raw_content = b""
        request.timestamp_end = request.timestamp_start if now is None else self._context.wall(now)
        return flow

    def _response(self, reason: bytes, fields: bytes, now: float) -> Response:
        headers, wall = Headers.of_block(fields), self._context.wall(now)
        return Response(self._status, _text(reason), "HTTP/1.1", headers, None, None, wall)


def _expects_response(request: Request) -> bool:
    """As any GET does."""
    return request.method not in ("CONNECT", "HEAD") and request.http_version == "HTTP/1.1"


def _keeps(fields: list[Field], wanted: bytes, value: bytes) -> bool:
    """The field `wanted` is there once with this value, and nothing else that tells where a message ends."""
    count = 0
    for field in fields:
        if tells([field]):
            if field[0].lower() != wanted or field[1] != value:
                return False
            count += 1
    return count == 1


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
