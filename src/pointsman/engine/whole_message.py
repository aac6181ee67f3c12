"""The two messages that make up nearly all of HTTP/1 on a kept connection, told at a fraction of the price.

A request without a body whose fields are, byte for byte, those of the one before: clients repeat themselves, and what
llhttp has accepted once it accepts again.  And a response that comes in one piece: whether it is whole is all that
matters, so nobody looks at its fields, and llhttp is not asked at all if its head is that of the one before.

Both are used between messages only and say "not mine" to everything else, which `http1` then reads the long way; what
is seen is the same either way.
"""

from __future__ import annotations

import re

import httptools

from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.engine.http1_open import OpenRequest

# Those for which llhttp does nothing special.
_METHODS = {name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")}
CHANCES = 4  # responses in a row that differ from the one before
HEAD_LIMIT = 4096  # bytes that are remembered
_CODED = re.compile(rb"transfer-encoding", re.IGNORECASE)
_LINE = re.compile(rb"(%b) (/[!-~]*) HTTP/1\.1" % b"|".join(_METHODS))


class RepeatedRequest:
    __slots__ = ("_fields", "_host")

    def __init__(self) -> None:
        self._fields: bytes | None = None
        """From the end of the request line to the end of the head.  None: the next one is to be read the long way."""
        self._host: str | None = None

    def remember(self, request: bytes, host: str | None) -> None:
        """`request` is one whole message that llhttp accepted, and after which the connection is kept."""
        end = request.find(b"\r\n")
        if request.find(b"\r\n\r\n", end) == len(request) - 4 and _LINE.fullmatch(request, 0, end):
            self._fields = request[end:]
            self._host = host

    def forget(self) -> None:
        """Something else came between."""
        self._fields = None

    def read(self, data: bytes) -> OpenRequest | None:
        """If `data` is that request once more but for its first line."""
        fields = self._fields
        if fields is None or not data.endswith(fields):
            return None
        line = _LINE.fullmatch(data, 0, len(data) - len(fields))
        if line is None:
            return None
        method, target = line.groups()
        return OpenRequest(0.0, _METHODS[method], target[:PATH_LIMIT], self._host)


class WholeResponse:
    """llhttp's callbacks for a response of which only the end matters."""

    __slots__ = ("_begun", "_chances", "_head", "_head_status", "_parser", "_size", "_status")

    def __init__(self) -> None:
        self._head: bytes | None = None
        """Of the response before, which had `_size` bytes in all and said how many follow its head."""
        self._size = self._head_status = 0
        self._chances = CHANCES
        self._parser: httptools.HttpResponseParser | None = None
        """While one is needed: with what it holds it takes as much as all that is remembered."""
        self._begin()

    def _begin(self) -> None:
        self._parser = None
        self._begun = 0
        self._status = 0

    def read(self, data: bytes) -> int | None:
        """The status, if `data` is exactly one final response after which the connection is kept."""
        if len(data) == self._size and self._head is not None and data.startswith(self._head):
            self._chances = CHANCES
            return self._head_status
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._status = 0
        status, begun = self._status, self._begun
        if begun == 1 and status >= 200:
            self._begun = self._status = 0
            if self._chances:
                self._remember(data, status)
            return status
        self._begin()  # it is in the middle of something
        return None

    def _remember(self, data: bytes, status: int) -> None:
        """A server that never says the same twice is not listened to for long."""
        self._chances -= 1
        end = data.find(b"\r\n\r\n") + 4
        # In chunks the body says where it ends.
        is_kept = 4 <= end <= HEAD_LIMIT and not _CODED.search(data, 0, end)
        if is_kept:
            self._parser = None
        self._head, self._size, self._head_status = data[:end] if is_kept else None, len(data), status

    def close(self) -> None:
        """Let go of the parser, which holds us."""
        self._parser = None

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_message_complete(self) -> None:
        parser = self._parser
        assert parser is not None, "it calls us"
        self._status = parser.get_status_code() if parser.should_keep_alive() else 0
