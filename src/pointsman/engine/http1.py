"""Watch HTTP/1 go by: whole exchanges come out, the bytes themselves are never touched.

It is fed copies of both directions and may stop at any time (a parse error, an upgrade, a bound): then it has seen
what it has seen, and the traffic goes on without it.  It must not know whether the bytes travelled inside TLS.

httptools (llhttp) reads the messages.  Two things it cannot know are added here: that a response answers HEAD and so
has no body, and that a request with `Upgrade` goes on as HTTP if the server declined.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

import httptools
from msgspec.structs import replace

from pointsman.engine.ambiguity import AmbiguousError, Lines
from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.engine.websocket import WebSocketObserver
from pointsman.engine.whole_message import RepeatedRequest, WholeResponse
from pointsman.wire.http_head import host_of_authority

HEAD_LIMIT = 64 * 1024  # bytes of one message head, as far as feeds show it
PIPELINE_LIMIT = 100  # requests without their response
BYTEWISE_LIMIT = 64 * 1024  # bytes before a pipelined response to HEAD, which must be cut out exactly
PENDING_LIMIT = 64 * 1024  # bytes after a request that asked for an upgrade
# Most fields are told apart by length alone.
_FRAMING_NAMES = {len("content-length"), len("transfer-encoding"), len("upgrade")}
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class _Framing(Enum):
    """How a response says where it ends."""

    UNTIL_CLOSE = auto()
    EXPLICIT = auto()


@dataclass(slots=True)
class _Open:
    """A request on its way and what has come back so far."""

    started: float
    method: str = ""
    target: bytes = b""
    host: str | None = None
    status: int | None = None
    framing: _Framing = _Framing.UNTIL_CLOSE
    websocket: bool = False
    """The response says that what follows it is one."""


class Http1Observer:
    def __init__(self) -> None:
        self.seen_request = False
        self._now = 0.0
        self.watching = True
        self._requests = _Requests(self)
        self._responses = _Responses(self)
        self._lines = Lines()
        self.open: list[_Open] = []
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
            return
        try:
            if side is Side.DOWNSTREAM:
                self._up += len(data)
                if self.watching:
                    self._lines.saw(data)
                    self._requests.feed(data)
                    if not self._requests.is_within:
                        self._lines.message_over()
                elif self._lines.is_mixed(data):
                    raise self._ambiguous("a lone LF among CRLFs")
            else:
                self._down += len(data)
                if self.watching:
                    self._responses.feed(data)
        except httptools.HttpParserError as error:
            # Not HTTP/1 as llhttp reads it.  The peers may understand each other all the same.
            self.stop()
            if side is Side.DOWNSTREAM and self.seen_or_open and self._lines.is_ambiguous(str(error), data):
                raise self._ambiguous(str(error)) from error

    def end(self, side: Side, now: float) -> None:
        """No more bytes from this side.  The end of a response may be exactly this."""
        self._now = now
        if side is Side.UPSTREAM and self.open and self.open[0].status is not None:
            explicit = self.open[0].framing is _Framing.EXPLICIT
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
            self._to_websocket(self._websocket, Side.UPSTREAM, rest)

    def _to_websocket(self, websocket: WebSocketObserver, side: Side, data: bytes) -> None:
        """Bytes that were counted with the exchange that opened it."""
        opening = self.done.pop()
        up, down = (len(data), 0) if side is Side.DOWNSTREAM else (0, len(data))
        self.done.append(replace(opening, bytes_up=opening.bytes_up - up, bytes_down=opening.bytes_down - down))
        websocket.receive(side, data)

    def stop(self) -> None:
        """Watch no further.  Open exchanges stay open until the connection ends."""
        self.watching = False
        self._requests.drop()
        self._responses.drop()

    # What the two parsers tell.

    def request_began(self) -> _Open:
        request = _Open(self._now)
        if len(self.open) >= PIPELINE_LIMIT:
            self.stop()
            return request
        self.open.append(request)
        return request

    def front(self) -> _Open | None:
        return self.open[0] if self.open else None

    def whole_request(self, method: str, target: bytes, host: str | None) -> None:
        request = self.request_began()
        request.method, request.target, request.host = method, target[:PATH_LIMIT], host
        self.request_named(method)

    def awaits_plain(self) -> bool:
        """The next response is one that `whole_response` may end: it answers neither HEAD nor CONNECT."""
        return bool(self.open) and not self.heads and self.open[0].status is None and self.open[0].method != "CONNECT"

    def whole_response(self, status: int) -> None:
        self.open[0].status = status
        self._finish(None)
        self._requests.go_on()

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
                self._to_websocket(self._websocket, Side.DOWNSTREAM, early)
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
        up, down = self._up, self._down
        self._up = self._down = 0
        path = request.target[:PATH_LIMIT].decode("latin-1")
        self.done.append(
            Exchange(request.method, path, request.host, request.status, up, down, request.started, self._now, error)
        )


class _Requests:
    """llhttp's callbacks for the direction app → origin."""

    def __init__(self, observer: Http1Observer) -> None:
        self._observer = observer
        self._parser = httptools.HttpRequestParser(self)
        self._current: _Open | None = None
        self._head_size = 0
        self._pending: bytearray | None = None
        """After a request that asked to leave HTTP/1: what came since, until the response says which it is."""
        self._within = False
        self._whole = 0
        """Messages that this feed has ended, if the connection is kept after them."""
        self._repeated = RepeatedRequest()
        self._last_host: str | None = None
        self._host_field: bytes | None = None
        self._host: str | None = None

    def feed(self, data: bytes) -> None:
        if self._pending is not None:
            self._pending += data
            if len(self._pending) > PENDING_LIMIT:
                self._observer.stop()
            return
        between = not self._within
        if between:
            again = self._repeated.read(data)
            if again is not None:
                self._observer.whole_request(*again, self._repeated.host)
                return
        self._repeated.forget()
        self._head_size += len(data)
        self._whole = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pending = bytearray(data[upgrade.args[0] :])
            return
        if self._current is None:
            self._head_size = 0
            if between and self._whole == 1 and not self._within and len(data) <= HEAD_LIMIT:
                self._repeated.remember(data, self._last_host)
        elif self._head_size > HEAD_LIMIT:
            self._observer.stop()

    @property
    def is_within(self) -> bool:
        """A message."""
        return self._within

    def go_on(self) -> None:
        """The server answered in HTTP/1, so what follows the request is HTTP/1 too."""
        if self._pending is not None and self._observer.front() is None:
            pending, self._pending = bytes(self._pending), None
            self._parser = httptools.HttpRequestParser(self)
            self._within = False
            if pending:
                self.feed(pending)

    def take_pending(self) -> bytes:
        pending, self._pending = bytes(self._pending or b""), None
        return pending

    def drop(self) -> None:
        self._pending = None

    def close(self) -> None:
        """Let go of parser and observer, which hold us: nobody should have to wait for the cycle collector."""
        with suppress(AttributeError):  # twice is harmless
            del self._parser
            del self._observer

    def on_message_begin(self) -> None:
        self._within = True
        self._current = self._observer.request_began()

    def on_message_complete(self) -> None:
        self._within = False
        if self._parser.should_keep_alive():
            self._whole += 1

    def on_url(self, part: bytes) -> None:
        current = self._current
        if current is not None and len(current.target) < PATH_LIMIT:
            current.target += part[:PATH_LIMIT]

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 4 and name.lower() == b"host" and self._current is not None:
            if value != self._host_field:  # one look at a name serves the whole connection
                self._host_field, self._host = value, host_of_authority(value.decode("latin-1"))
            self._current.host = self._host

    def on_headers_complete(self) -> None:
        if self._current is not None:
            self._last_host = self._current.host
            self._current.method = method = self._parser.get_method().decode("ascii")
            self._observer.request_named(method)
        self._current = None


class _Responses:
    """llhttp's callbacks for the direction origin → app."""

    def __init__(self, observer: Http1Observer) -> None:
        self._observer = observer
        self._parser: httptools.HttpResponseParser | None = None
        """From the first response that `_whole` does not read."""
        self._whole = WholeResponse()
        self._within = False
        self._in_head = False
        self._last = False
        """The server said that it closes after this one."""
        self._head_size = 0
        self._head_answer = bytearray()
        self._bytewise = 0

    def feed(self, data: bytes) -> None:
        if not (self._within or self._last) and self._observer.awaits_plain():
            status = self._whole.read(data)
            if status is not None:
                self._observer.whole_response(status)
                return
        while data and self._observer.watching:
            front = self._observer.front()
            if front is not None and front.method == "HEAD" and not self._within:
                data = self._feed_answer_to_head(data)
            elif self._observer.heads:
                data = self._feed_until_complete(data)
            else:
                self._feed(data)
                return

    def drop(self) -> None:
        self._head_answer.clear()

    def close(self) -> None:
        self._parser = None
        self._whole.close()
        with suppress(AttributeError):
            del self._observer

    def _feed(self, data: bytes) -> None:
        self._head_size += len(data)
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._observer.switched(data[upgrade.args[0] :])  # 101: response_complete has stopped this parser
            return
        if not self._in_head:
            self._head_size = 0
        elif self._head_size > HEAD_LIMIT:
            self._observer.stop()

    def _feed_answer_to_head(self, data: bytes) -> bytes:
        """Cut the head off and end the response there.  Returns what follows it."""
        searched = max(0, len(self._head_answer) - 3)
        self._head_answer += data
        end = _HEAD_END.search(self._head_answer, searched)
        if end is None:
            if len(self._head_answer) > HEAD_LIMIT:
                self._observer.stop()
            return b""
        head, rest = bytes(self._head_answer[: end.end()]), bytes(self._head_answer[end.end() :])
        self._head_answer.clear()
        self._feed(head)
        if self._within:  # it announced the body that GET would have got
            self.on_message_complete()
        self._parser = None
        return rest

    def _feed_until_complete(self, data: bytes) -> bytes:
        """An answer to HEAD stands behind this response: find the exact byte where this one ends."""
        for at in range(len(data)):
            self._bytewise += 1
            if self._bytewise > BYTEWISE_LIMIT:
                self._observer.stop()
                return b""
            self._feed(data[at : at + 1])
            if not self._observer.watching:
                return b""
            front = self._observer.front()
            if not self._within and (front is None or front.method == "HEAD"):
                self._bytewise = 0
                return data[at + 1 :]
        return b""

    def on_message_begin(self) -> None:
        self._within = self._in_head = True
        if self._observer.front() is None:
            self._observer.stop()  # an answer to nothing: whatever this is, we do not understand it

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) not in _FRAMING_NAMES:
            return
        front = self._observer.front()
        name = name.lower()
        if front is not None and name == b"upgrade":
            front.websocket = value.strip().lower() == b"websocket"
        if front is not None and (
            name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower())
        ):
            front.framing = _Framing.EXPLICIT

    def on_headers_complete(self) -> None:
        self._in_head = False
        front = self._observer.front()
        if front is None:
            return
        assert self._parser is not None, "it calls us"
        front.status = self._parser.get_status_code()
        if front.method == "CONNECT" and 200 <= front.status < 300:
            self._observer.response_complete()  # from here on it is a tunnel

    def on_message_complete(self) -> None:
        self._within = False
        self._last = self._parser is not None and not self._parser.should_keep_alive()
        self._observer.response_complete()
