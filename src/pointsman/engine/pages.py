"""What an app gets to read in clear HTTP in place of its origin's answer."""

from __future__ import annotations

BLOCK_PAGE = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\nContent-Length: 49\r\n\r\nBlocked by a rule of the policy of this machine.\n"
)
_NO_WAY = b"The upstream proxy that the policy of this machine asks for did not let this connection through.\n"
GATEWAY_PAGE = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
) % (len(_NO_WAY), _NO_WAY)
