"""Which of the errors that llhttp finds in a request mean that two readers could see different requests.

In `inspect` bytes go on as they came, so a request that our reader and the origin's may cut differently must not: the
connection is closed instead.  Errors that only mean "this is not HTTP/1 as llhttp likes it" stay without consequence.
"""

from __future__ import annotations

import re

# The words of llhttp 9 for what RFC 9112 5.1, 5.2, 6.1, 6.3 and 7.1 forbid.
_FRAMING = re.compile(
    r"Content-Length|Transfer-Encoding|chunk|header field|header token|header value char"
    r"|whitespace after header|space after start line|expected LF after header",
    re.IGNORECASE,
)
_LONE_CR = re.compile(rb"\r[^\n]")
_CR = re.compile(rb"\r.", re.DOTALL)  # with what follows it, which may be in the next piece
_BARE_LF = re.compile(r"expected CR after|Expected CRLF after")


class AmbiguousError(Exception):
    """The connection has to end here."""


class Lines:
    """How the app ends its lines, however TCP has cut them."""

    def __init__(self) -> None:
        self.has_crlf = False
        """It has ended one of this message with CRLF."""
        self._has_lone_cr = False
        """Which some readers take for the end of a line, and others for a space (RFC 9112 2.2)."""
        self._last = b""
        self._suspected = False

    def saw(self, data: bytes) -> None:
        """Before the parser gets it."""
        if not self.has_crlf:
            joined = self._last + data
            self.has_crlf = b"\r\n" in joined.partition(b"\n\n")[0]
            self._has_lone_cr = self._has_lone_cr or _LONE_CR.search(joined) is not None
            self._last = joined[-1:]

    def message_over(self) -> None:
        self.has_crlf, self._has_lone_cr, self._last = False, False, b""

    def is_ambiguous(self, reason: str, data: bytes) -> bool:
        """`data`: what the parser was given when it failed.

        A lone LF may end a line (RFC 9112 2.2), and programs that use nothing else exist; among CRLFs it is a trick.
        Those may be still to come: then `is_mixed` finds them.
        """
        if _BARE_LF.search(reason) is None:
            return _FRAMING.search(reason) is not None
        if "chunk" in reason or self.has_crlf or self._has_lone_cr:
            return True
        self._suspected, self._last = True, b""
        return self.is_mixed(data)

    def is_mixed(self, data: bytes) -> bool:
        """After a lone LF: CRLF, or a lone CR, has come before the end of that head."""
        if not self._suspected:
            return False
        data = self._last + data
        self._last = data[-1:]
        mixed, end = _CR.search(data), data.find(b"\n\n")
        self._suspected = end < 0
        return mixed is not None and (end < 0 or mixed.start() < end)
