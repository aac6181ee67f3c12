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
_BARE_LF = re.compile(r"expected CR after|Expected CRLF after")


class AmbiguousError(Exception):
    """The connection has to end here."""


def is_ambiguous(reason: str, data: bytes) -> bool:
    """`data`: what the parser was given when it failed.

    A lone LF may end a line (RFC 9112 2.2), and programs that use nothing else exist; among CRLFs it is a trick.
    """
    if _BARE_LF.search(reason) is not None:
        return "chunk" in reason or b"\r\n" in data
    return _FRAMING.search(reason) is not None
