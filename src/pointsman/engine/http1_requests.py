"""What llhttp tells of the direction app → origin, for the observer of `http1`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import httptools

from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.engine.http1_open import OpenRequest
from pointsman.engine.whole_message import RepeatedRequest
from pointsman.wire.http_head import host_of_authority

if TYPE_CHECKING:
    from pointsman.engine.http1 import Http1Observer

HEAD_LIMIT = 64 * 1024  # bytes of one message head, as far as feeds show it
PENDING_LIMIT = 64 * 1024  # bytes after a request that asked for an upgrade


class Requests:
    """llhttp's callbacks for the direction app → origin."""

    def __init__(self, observer: Http1Observer, repeated: RepeatedRequest) -> None:
        """`repeated` is to know what was read last, if the next one may be like it."""
        self._observer = observer
        self._parser = httptools.HttpRequestParser(self)
        self._current: OpenRequest | None = None
        self._head_size = 0
        self.pending: bytearray | None = None
        """After a request that asked to leave HTTP/1: what came since, until the response says which it is."""
        self._within = False
        self._whole = 0
        """Messages that this feed has ended, if the connection is kept after them."""
        self._repeated = repeated
        self._last_host: str | None = None
        self._host_field: bytes | None = None
        self._host: str | None = None

    def feed(self, data: bytes) -> None:
        if self.pending is not None:
            self.pending += data
            if len(self.pending) > PENDING_LIMIT:
                self._observer.stop()
            return
        between = not self._within
        self._repeated.forget()
        self._head_size += len(data)
        self._whole = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.pending = bytearray(data[upgrade.args[0] :])
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
        if self.pending is not None and self._observer.front() is None:
            pending, self.pending = bytes(self.pending), None
            self._parser = httptools.HttpRequestParser(self)
            self._within = False
            if pending:
                self.feed(pending)

    def take_pending(self) -> bytes:
        pending, self.pending = bytes(self.pending or b""), None
        return pending

    def drop(self) -> None:
        self.pending = None
        self._repeated.forget()

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
