"""Watch HTTP/1 go by: whole exchanges come out, the bytes themselves are never touched.

It is fed copies of both directions and may stop at any time (a parse error, an upgrade, a bound): then it has seen
what it has seen, and the traffic goes on without it.  It must not know whether the bytes travelled inside TLS.

httptools (llhttp) reads the messages, `http1_requests` and `http1_responses` listen to it; the messages that make up
nearly all of a kept connection take the short way of `whole_message`.  Two things llhttp cannot know are added: that a
response answers HEAD and so has no body, and that a request with `Upgrade` goes on as HTTP if the server declined.
"""

from __future__ import annotations

import httptools
from msgspec.structs import replace

from pointsman.engine.ambiguity import AmbiguousError, Lines
from pointsman.engine.events import DOWNSTREAM, UPSTREAM, Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.engine.http1_open import OpenRequest, ResponseEnd
from pointsman.engine.http1_requests import Requests
from pointsman.engine.http1_responses import Responses
from pointsman.engine.websocket import WebSocketObserver
from pointsman.engine.whole_message import RepeatedRequest, WholeResponse

PIPELINE_LIMIT = 100  # requests without their response


class Http1Observer:
    def __init__(self) -> None:
        self.seen_request = False
        self._now = 0.0
        self.watching = True
        self._repeated = RepeatedRequest()
        self._whole = WholeResponse()
        self._requests = Requests(self, self._repeated)
        self._responses = Responses(self)
        self._lines = Lines()
        self.open: list[OpenRequest] = []
        self.done: list[Exchange] = []
        self._websocket: WebSocketObserver | None = None
        self.heads = 0
        """Open requests whose response has no body whatever it says."""
        self._up = self._down = 0
        """Bytes that belong to no exchange yet."""

    def receive(self, side: Side, data: bytes, now: float) -> None:
        """`side` is where the bytes came from."""
        self._now = now
        if self._websocket is not None:
            self._websocket.receive(side, data)
        elif side is DOWNSTREAM:
            self._up += len(data)
            again = self._repeated.read(data)
            if again is not None and len(self.open) < PIPELINE_LIMIT:
                self.open.append(again)
                again.started = now
                if again.method == "HEAD":
                    self.heads += 1
            else:
                self._read(side, data)
        else:
            self._down += len(data)
            opened = self.open
            if self._responses.between and opened and not self.heads:
                first = opened[0]
                if first.status is None and first.method != "CONNECT":  # nothing of its response was read yet
                    status = self._whole.read(data)
                    if status is not None:
                        first.status = status
                        self._finish(None)
                        if self._requests.pending is not None:
                            self._requests.go_on()
                        return
            self._read(side, data)

    def _read(self, side: Side, data: bytes) -> None:
        """The long way."""
        try:
            if side is UPSTREAM:
                if self.watching:
                    self._responses.feed(data)
            elif self.watching:
                self._lines.saw(data)
                self._requests.feed(data)
                if not self._requests.is_within:
                    self._lines.message_over()
            elif self._lines.is_mixed(data):
                raise self._ambiguous("a lone LF among CRLFs")
        except httptools.HttpParserError as error:
            # Not HTTP/1 as llhttp reads it.  The peers may understand each other all the same.
            self.stop()
            if side is DOWNSTREAM and self.seen_or_open and self._lines.is_ambiguous(str(error), data):
                raise self._ambiguous(str(error)) from error

    def end(self, side: Side, now: float) -> None:
        """No more bytes from this side.  The end of a response may be exactly this."""
        self._now = now
        if side is UPSTREAM and self.open and self.open[0].status is not None:
            explicit = self.open[0].framing is ResponseEnd.EXPLICIT
            self._finish("the response was cut short" if explicit else None)

    def cut(self, now: float, why: str) -> None:
        self._now = now
        while self.open:
            self._finish(why)
        if self._websocket is not None:
            self.done.append(self._websocket.finish(now, why))
            self._websocket = None
        self.stop()
        self._requests.close()
        self._responses.close()
        self._whole.close()

    def take(self) -> list[Exchange]:
        """Exchanges finished since the last call."""
        done, self.done = self.done, []
        return done

    @property
    def seen_or_open(self) -> bool:
        """What failed was a request, or behind one."""
        return self.seen_request or bool(self.open)

    def _ambiguous(self, reason: str) -> AmbiguousError:
        why = f"refused: its ends may read this request differently: {reason}"
        if not (self.open and self.open[-1].method):  # otherwise its head was read, and `cut` tells
            self.done.append(Exchange("", "", None, None, self._up, self._down, self._now, self._now, why))
        return AmbiguousError(why)

    def untold(self) -> tuple[int, int]:
        """Bytes up and down that belong to no exchange yet."""
        return self._up, self._down

    def switched(self, rest: bytes) -> None:
        """What came in one piece with the response that left HTTP."""
        if self._websocket is not None and rest:
            self._to_websocket(self._websocket, UPSTREAM, rest)

    def _to_websocket(self, websocket: WebSocketObserver, side: Side, data: bytes) -> None:
        """Bytes that were counted with the exchange that opened it."""
        opening = self.done.pop()
        up, down = (len(data), 0) if side is DOWNSTREAM else (0, len(data))
        self.done.append(replace(opening, bytes_up=opening.bytes_up - up, bytes_down=opening.bytes_down - down))
        websocket.receive(side, data)

    def stop(self) -> None:
        """Watch no further.  Open exchanges stay open until the connection ends."""
        self.watching = False
        self._requests.drop()
        self._responses.drop()

    # What the two parsers tell.

    def request_began(self) -> OpenRequest:
        request = OpenRequest(self._now)
        if len(self.open) >= PIPELINE_LIMIT:
            self.stop()
            return request
        self.open.append(request)
        return request

    def front(self) -> OpenRequest | None:
        return self.open[0] if self.open else None

    def request_named(self, method: str) -> None:
        self.seen_request = True
        if method == "HEAD":
            self.heads += 1

    def response_complete(self) -> None:
        front = self.front()
        if front is None or front.status is None:
            return
        if 100 <= front.status < 200 and front.status != 101:
            front.status = None  # interim: the real one is still to come
            return
        switched = front.status == 101 or (front.method == "CONNECT" and 200 <= front.status < 300)
        self._finish(None)
        if switched and front.websocket and front.method:  # otherwise its request is not even whole
            path = front.target[:PATH_LIMIT].decode("latin-1")
            self._websocket = WebSocketObserver(path, front.host, self._now)
            early = self._requests.take_pending()
            if early:
                self._to_websocket(self._websocket, DOWNSTREAM, early)
            self.stop()
        elif switched:
            self.stop()
        else:
            self._requests.go_on()

    def _finish(self, error: str | None) -> None:
        request = self.open.pop(0)
        if request.method == "HEAD":
            self.heads -= 1
        if not request.method:  # the end came within the request line
            return
        target = request.target
        path = (target if len(target) <= PATH_LIMIT else target[:PATH_LIMIT]).decode("latin-1")
        self.done.append(
            Exchange(
                request.method, path, request.host, request.status, self._up, self._down,
                request.started, self._now, error,
            )
        )  # fmt: skip
        self._up = self._down = 0
