"""One intercepted exchange: in which order its parts go on, who is asked about them, what is gathered.

    request head ─▶ requestheaders ─▶ body ─▶ request ─▶ origin ─▶ responseheaders ─▶ body ─▶ response ─▶ app

It decides whether a body is gathered (somebody wants the hook that comes after it, and it stays within a bound) or
passed on as it comes.  It must not know how messages travel: a `Carrier` (HTTP/1, HTTP/2) tells it what arrived and
sends what it says.  While somebody is asked, `blocked` is True and the carrier holds back.
"""

from __future__ import annotations

from collections.abc import Callable

from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.engine.framing import (
    carries_body,
    frame_whole,
    is_coded,
    is_endless,
    lengths,
    restore_length,
    set_length,
)
from pointsman.engine.messages import FlowError, Headers, HttpFlow, Response
from pointsman.engine.transaction_parts import GATHER_LIMIT, BodyWay, Carrier, Gathered

NOTE_STREAMED = f"a body of more than {GATHER_LIMIT >> 20} MiB was passed on without being gathered"


class Transaction:
    def __init__(
        self,
        flow: HttpFlow,
        carrier: Carrier,
        hooks: frozenset[str],
        clock: Callable[[], float],
        gathered: Gathered | None = None,
    ) -> None:
        """`clock`: seconds since 1970."""
        self._all_gathered = gathered or Gathered()
        self.flow = flow
        self.app_method = self.sent_method = flow.request.method
        """Which the app used, and which the origin got: how a response is framed on either side depends on it."""
        self.started = 0.0
        """On the engine's clock."""
        self.bytes_up = self.bytes_down = 0
        self.note: str | None = None
        self.host: str | None = None
        """Whom the request is for, lower case."""
        self.answered_here = False
        """The answer does not come from the origin."""
        self.response_done = False
        self.over = False
        self._carrier = carrier
        self.hooks = hooks
        self._clock = clock
        self._request = BodyWay()
        self._response = BodyWay()
        self._then: Callable[[], None] | None = None
        self._blocks = Side.DOWNSTREAM
        self._hook = ""
        """The one that is asked."""
        self._lengths: dict[Side, list[str]] = {Side.DOWNSTREAM: []}
        self._status = 0
        """Which the response came with."""

    def blocked(self, side: Side) -> bool:
        """Hold back what comes from this side."""
        return self._then is not None and (side is self._blocks or self._blocks is Side.DOWNSTREAM)

    @property
    def is_waiting(self) -> bool:
        """Somebody is asked."""
        return self._then is not None

    @property
    def asked_origin(self) -> bool:
        return self._request.begun

    @property
    def request_received(self) -> bool:
        return self._request.received

    # What arrives.

    def request_head(self, *, has_body: bool) -> None:
        """`flow.request` is filled in."""
        request = self.flow.request
        request.raw_content = None
        self._lengths[Side.DOWNSTREAM] = lengths(request.headers)
        self._ask(Side.DOWNSTREAM, "requestheaders", lambda: self._request_allowed(has_body))

    def request_data(self, data: bytes) -> None:
        if self.answered_here or self.over:
            return
        body = self._request
        if body.gathered is None:
            self._send_request_data(data)
            return
        if not self._all_gathered.add(body, data):
            self.note = NOTE_STREAMED
            self._stream_request()

    def request_end(self, trailers: Headers | None) -> None:
        request, body = self.flow.request, self._request
        request.trailers = trailers
        request.timestamp_end = self._clock()
        body.received = True
        if self.answered_here or self.over:
            return
        if body.gathered is not None:
            request.raw_content = self._all_gathered.take(body)
            self._request_whole()
        else:
            self._end_streamed_request()
            if request.stream:
                self._tell("request")

    def response_head(self, *, has_body: bool) -> None:
        """`flow.response` is filled in."""
        response = self._present
        response.raw_content = None
        self._lengths[Side.UPSTREAM], self._status = lengths(response.headers), response.status_code
        self._ask(Side.UPSTREAM, "responseheaders", lambda: self._response_allowed(has_body))

    def response_data(self, data: bytes) -> None:
        body = self._response
        if self.over or body.is_skipped:
            return
        if body.gathered is None:
            self._send_response_data(data)
            return
        if not self._all_gathered.add(body, data):
            self.note = NOTE_STREAMED
            self._stream_response()

    def response_end(self, trailers: Headers | None) -> None:
        if self.over:
            return
        response, body = self._present, self._response
        response.trailers = trailers
        body.received = True
        response.timestamp_end = self._clock()
        if body.gathered is not None:
            response.raw_content = self._all_gathered.take(body)
            self._ask(Side.UPSTREAM, "response", self._send_whole_response)
        elif body.is_skipped:
            self._end_response()
        else:
            tail = body.transformed(b"") if body.transform is not None else b""
            if tail:
                self._carrier.send_response_data(self, tail)
            if response.stream:
                self._tell("response")
            self._end_response()

    def consulted(self) -> None:
        """Whoever was asked has answered, by changing the flow."""
        then, self._then = self._then, None
        if then is None or self.over:
            return
        if self.flow.killed:
            self._carrier.reset(self, "killed by an addon")
        elif self.flow.response is None and self._hook in ("responseheaders", "response"):
            self._refuse("an addon took the response away")
        else:
            then()

    def resume(self, asking: str, status: int, length: int) -> None:
        """Go on with a request that has no body where another has left off: it was sent, unless the hook `asking`
        stands open.  From `responseheaders` on a response is here that came with this status and `length` bytes."""
        self._hook = asking
        if asking == "requestheaders":
            self._then = lambda: self._request_allowed(False)
            return
        self._lengths[Side.DOWNSTREAM] = []
        self._request.received = True
        if asking == "request":
            self._then = self._send_whole_request
            return
        self._request.begun = True
        self.sent_method = self.flow.request.method
        if asking:
            self._blocks = Side.UPSTREAM
            self._status = status
            self._lengths[Side.UPSTREAM] = [str(length)]
            self._response.received = asking == "response"
            self._then = self._send_whole_response if asking == "response" else lambda: self._response_allowed(True)

    def switch(self, then: Callable[[], None]) -> None:
        """The response ends HTTP here, once listeners have seen it."""
        response = self._present
        response.raw_content, response.timestamp_end = b"", self._clock()
        self._lengths[Side.UPSTREAM], self._status = [], response.status_code
        self._ask(Side.UPSTREAM, "responseheaders", lambda: self._ask(Side.UPSTREAM, "response", then))

    def stay(self) -> None:
        """A listener does not want it to end: the app gets what the response is now."""
        self.answered_here = self._response.received = True
        self._send_whole_response()

    def answer(self, response: Response) -> None:
        """With this, and the origin is not asked (any more)."""
        self.flow.response = response
        self._answer()

    def finish(self, error: str | None) -> None:
        """It is over; the carrier says so, once."""
        self.over = True
        self._then = None
        for body in (self._request, self._response):
            self._all_gathered.take(body)
        if error is not None:
            self.flow.error = FlowError.at(error, self._clock())
            if "error" in self.hooks:
                self._carrier.ask("error", self, waits=False)

    def exchange(self, now: float, error: str | None) -> Exchange:
        """What the flow record says of it."""
        flow = self.flow
        status = flow.response.status_code if flow.response is not None else None
        return Exchange(
            flow.request.method, flow.request.path[:PATH_LIMIT], self.host, status, self.bytes_up, self.bytes_down,
            self.started, now, error, self.note, flow.decision, flow.rule,
        )  # fmt: skip

    # The request.

    def _request_allowed(self, has_body: bool) -> None:
        request, body = self.flow.request, self._request
        if self.flow.response is not None:
            self._answer()
        elif not has_body:
            body.received = True
            request.raw_content = b""
            request.timestamp_end = self._clock()
            self._request_whole()
        elif "request" in self.hooks and not request.stream and self._is_gatherable(Side.DOWNSTREAM, request.headers):
            body.gathered = bytearray()
            self._carrier.invite_body(self)
        else:
            self._stream_request()

    def _request_whole(self) -> None:
        self._ask(Side.DOWNSTREAM, "request", self._send_whole_request)

    def _send_whole_request(self) -> None:
        request = self.flow.request
        if self.flow.response is not None:
            self._answer()
            return
        headers = request.headers
        if request.raw_content or self._lengths[Side.DOWNSTREAM] or lengths(headers) or is_coded(headers):
            set_length(request, len(request.raw_content or b""))
        self._request.begun = True
        self.sent_method = request.method
        self._carrier.send_request(self, whole=True)

    def _stream_request(self) -> None:
        request, body = self.flow.request, self._request
        if callable(request.stream):
            if request.http_version == "HTTP/1.0":
                self.note = "a function cannot change the streamed body of a request in HTTP/1.0"
            else:
                body.transform = request.stream
        self._keep_length(request.headers, Side.DOWNSTREAM, body)
        body.begun = True
        self.sent_method = request.method
        gathered = self._all_gathered.take(body)
        self._carrier.send_request(self, whole=False)
        if gathered:
            self._send_request_data(gathered)

    def _send_request_data(self, data: bytes) -> None:
        data = self._request.transformed(data)
        if data:
            self._carrier.send_request_data(self, data)

    def _end_streamed_request(self) -> None:
        tail = self._request.transformed(b"") if self._request.transform is not None else b""
        if tail:
            self._carrier.send_request_data(self, tail)
        self._carrier.end_request(self)

    # The response.

    def _answer(self) -> None:
        self.answered_here = True
        response = self._present
        now = self._clock()
        response.timestamp_start = response.timestamp_start or now
        response.timestamp_end = now
        if response.raw_content is None:
            response.raw_content = b""
        self._response.received = True
        self._lengths[Side.UPSTREAM], self._status = [str(len(response.raw_content))], response.status_code
        self._ask(
            Side.DOWNSTREAM,
            "responseheaders",
            lambda: self._ask(Side.DOWNSTREAM, "response", self._send_whole_response),
        )

    def _response_allowed(self, has_body: bool) -> None:
        response, body = self._present, self._response
        if not has_body:
            response.raw_content = b""
            response.timestamp_end = self._clock()
            body.received = True
            self._ask(Side.UPSTREAM, "response", self._send_whole_response)
        elif "response" in self.hooks and not response.stream and self._is_gatherable(Side.UPSTREAM, response.headers):
            body.gathered = bytearray()
        else:
            self._stream_response()

    def _send_whole_response(self) -> None:
        if self._is_final():
            frame_whole(self._present, self.app_method, self._lengths[Side.UPSTREAM], self._status)
            self._carrier.send_response(self, whole=True)
            self._end_response()

    def _is_final(self) -> bool:
        """If not, an app would go on waiting; it is told instead."""
        status = self._present.status_code
        if status >= 200:
            return True
        self._refuse(f"{status}, which an addon set, is no final status")
        return False

    def _refuse(self, why: str) -> None:
        self.flow.response = Response(502, "", "HTTP/1.1", Headers())
        self._carrier.refuse(self, f"refused: {why}")

    def _skip_response(self) -> None:
        """Its status, or the app's method, has no body; the origin does not know that."""
        response, body = self._present, self._response
        self._all_gathered.take(body)
        body.begun = body.is_skipped = True
        more_comes = self._carrier.skip_response_body(self)
        response.raw_content = b""
        frame_whole(response, self.app_method, self._lengths[Side.UPSTREAM], self._status)
        self._carrier.send_response(self, whole=True)
        if not more_comes:
            self._end_response()

    def _stream_response(self) -> None:
        response, body = self._present, self._response
        if not self._is_final():
            return
        if not carries_body(self.app_method, response.status_code) and carries_body(self.sent_method, self._status):
            self._skip_response()
            return
        body.transform = response.stream if callable(response.stream) else None
        self._keep_length(response.headers, Side.UPSTREAM, body)
        gathered = self._all_gathered.take(body)
        body.begun = True
        self._carrier.send_response(self, whole=False)
        if gathered:
            self._send_response_data(gathered)

    def _send_response_data(self, data: bytes) -> None:
        data = self._response.transformed(data)
        if data:
            self._carrier.send_response_data(self, data)

    def _end_response(self) -> None:
        self.response_done = True
        self._carrier.end_response(self)

    @property
    def _present(self) -> Response:
        assert self.flow.response is not None, "its head is here"
        return self.flow.response

    # Both.

    def _ask(self, side: Side, hook: str, then: Callable[[], None]) -> None:
        if hook not in self.hooks:
            then()
            return
        self._then, self._blocks, self._hook = then, side, hook
        self._carrier.ask(hook, self, waits=True)

    def _tell(self, hook: str) -> None:
        """Whoever had a body streamed hears of its end.  Nobody waits for the answer."""
        if hook in self.hooks:
            self._carrier.ask(hook, self, waits=False)

    def _is_gatherable(self, side: Side, headers: Headers) -> bool:
        if is_endless(headers) or self.flow.request.method == "CONNECT":
            return False
        lengths = self._lengths[side]
        if lengths and lengths[0].isdigit() and int(lengths[0]) > GATHER_LIMIT:
            self.note = NOTE_STREAMED
            return False
        return True

    def _keep_length(self, headers: Headers, side: Side, body: BodyWay) -> None:
        """Of a body that is passed on: as announced, or unknown if its pieces are changed."""
        restore_length(headers, self._lengths[side] if body.transform is None else [])
