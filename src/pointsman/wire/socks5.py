"""SOCKS 5 as a client says and hears it: method, user and password, request (RFC 1928, RFC 1929).

Pure and incremental: a parser gets all bytes so far and gives a value with the number of bytes that it took, or None
while more are needed.  Bytes that are no SOCKS raise `ProxyError` in words that name what was found.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from pointsman.wire.proxy_error import ProxyError

VERSION = 5
NO_AUTHENTICATION, USER_AND_PASSWORD, NONE_ACCEPTABLE = 0x00, 0x02, 0xFF
_AUTHENTICATION_VERSION = 1
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_ADDRESS_SIZES = {_IPV4: 4, _IPV6: 16}
MAX_NAME = 255  # bytes
REPLIES = {
    0x01: "general failure",
    0x02: "not allowed by its rules",
    0x03: "network unreachable",
    0x04: "host unreachable",
    0x05: "connection refused",
    0x06: "TTL expired",
    0x07: "CONNECT not supported",
    0x08: "address type not supported",
}
"""RFC 1928 6."""
_FAULTS_OF_THE_PROXY = {0x07}
"""The other replies say something about the destination; whoever is asked for it again may well say the same."""

Target = str | IPv4Address | IPv6Address


def greeting(*, with_password: bool) -> bytes:
    """What we can: the proxy chooses."""
    methods = bytes([NO_AUTHENTICATION, USER_AND_PASSWORD] if with_password else [NO_AUTHENTICATION])
    return bytes([VERSION, len(methods)]) + methods


def parse_method(data: bytes) -> tuple[int, int] | None:
    """The method that the proxy chose.  Raises ProxyError."""
    _check_version(data, VERSION, "a SOCKS 5 proxy")
    if len(data) < 2:
        return None
    if data[1] == NONE_ACCEPTABLE:
        raise ProxyError("it accepts none of our ways to authenticate (SOCKS 0xFF)")
    if data[1] not in (NO_AUTHENTICATION, USER_AND_PASSWORD):
        raise ProxyError(f"it chose the SOCKS method 0x{data[1]:02X}, which was not offered")
    return data[1], 2


def authentication(user: str, password: str) -> bytes:
    """Each at most 255 bytes, the user not empty."""
    name, secret = user.encode(), password.encode()
    return bytes([_AUTHENTICATION_VERSION, len(name)]) + name + bytes([len(secret)]) + secret


def parse_authentication(data: bytes) -> int | None:
    """The number of bytes it took.  Raises ProxyError."""
    _check_version(data, _AUTHENTICATION_VERSION, "an answer to user and password")
    if len(data) < 2:
        return None
    if data[1] != 0:
        raise ProxyError(f"it refused user and password (SOCKS 0x{data[1]:02X})")
    return 2


def connect_request(target: Target, port: int) -> bytes:
    """Raises ValueError for a name that SOCKS cannot carry."""
    if isinstance(target, str):
        name = target.encode("ascii")
        if not 0 < len(name) <= MAX_NAME:
            raise ValueError(f"a name of {len(name)} bytes")
        address = bytes([_NAME, len(name)]) + name
    else:
        address = bytes([_IPV4 if target.version == 4 else _IPV6]) + target.packed
    return bytes([VERSION, _CONNECT, 0]) + address + struct.pack(">H", port)


def parse_reply(data: bytes) -> int | None:
    """The number of bytes it took, if the proxy is connected.  Raises ProxyError."""
    _check_version(data, VERSION, "a reply of SOCKS 5")
    if len(data) < 2:
        return None
    if data[1] != 0:  # some proxies close right after this, so the rest is not waited for
        words = REPLIES.get(data[1], "unknown reply")
        raise ProxyError(f"{words} (SOCKS 0x{data[1]:02X})", about_target=data[1] not in _FAULTS_OF_THE_PROXY)
    if len(data) < 5:
        return None
    size = 1 + data[4] if data[3] == _NAME else _ADDRESS_SIZES.get(data[3])
    if size is None:
        raise ProxyError(f"its reply has the address type 0x{data[3]:02X}, which SOCKS 5 does not know")
    whole = 4 + size + 2
    return whole if len(data) >= whole else None


def _check_version(data: bytes, version: int, what: str) -> None:
    if data and data[0] != version:
        hint = " (HTTP?)" if data[:1] == b"H" else ""
        raise ProxyError(f"not {what}: it begins with 0x{data[0]:02X}{hint}")
