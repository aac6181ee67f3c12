"""What llhttp tells of the direction origin → app, for the observer of `http1`."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import httptools

from pointsman.engine.http1_open import ResponseEnd
from pointsman.engine.http1_requests import HEAD_LIMIT

if TYPE_CHECKING:
    from pointsman.engine.http1 import Http1Observer

BYTEWISE_LIMIT = 64 * 1024  # bytes before a pipelined response to HEAD, which must be cut out exactly
# Most fields are told apart by length alone.
_FRAMING_NAMES = {len("content-length"), len("transfer-encoding"), len("upgrade")}
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class Responses:
    """llhttp's callbacks for the direction origin → app."""

    def __init__(self, observer: Http1Observer) -> None:
        self._observer = observer
        self._parser: httptools.HttpResponseParser | None = None
        """From the first response that is read the long way."""
        self.between = True
        """Responses, and another one may follow on this connection."""
        self._within = False
        self._in_head = False
        self._head_size = 0
        self._head_answer = bytearray()
        self._bytewise = 0

    def feed(self, data: bytes) -> None:
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
        self.between = False

    def close(self) -> None:
        """As `Requests.close`."""
        self._parser = None
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
        self.between = False
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
            front.framing = ResponseEnd.EXPLICIT

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
        self.between = self._observer.watching and (self._parser is None or self._parser.should_keep_alive())
        self._observer.response_complete()
