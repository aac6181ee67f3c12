"""A Linux gateway as a `System`: netfilter's nat table redirects, SO_ORIGINAL_DST says whither a connection went.

    nft add rule ip nat prerouting iifname lan0 tcp dport { 80, 443 } redirect to :8443

The rules are the operator's; nothing here writes any.  So there is no driver to register with, no app to name and no
filter to install: a policy is evaluated by the proxy alone, for the TCP connections that arrive.  What a rule calls
`direct` is relayed, since it has arrived here.  `NetfilterDriver` answers the four IOCTLs of a registration so that
nothing above needs to know this.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from pointsman.system.interface import DriverError
from pointsman.system.no_processes import NoProcesses
from pointsman.system.unix_channel import UnixChannel, user_directory
from pointsman.wire.abi import ABI_VERSION, RULE_DEFAULT, Address, Flag, Ioctl
from pointsman.wire.filters import Filter, InstalledFilter, NativeFilter
from pointsman.wire.redirect_context import RedirectContext

SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST in linux/netfilter_ipv6/ip6_tables.h is the same
_SOL_IPV6 = socket.IPPROTO_IPV6
_SOCKADDR_IN = struct.Struct("!2xH4s8x")
_SOCKADDR_IN6 = struct.Struct("!2xH4x16s4x")
_REGISTRATION = 1
_LEASE_MS = 3000
_INVALID_DEVICE_REQUEST = 0xC000_0010
_TCP = 6
_NO_FLAGS = Flag(0)


def original_destination(accepted: socket.socket) -> tuple[Address, int] | None:
    """Whither the peer dialled; None if nobody redirected it, or if it is gone."""
    try:
        own = accepted.getsockname()
        if accepted.family == socket.AF_INET6 and not _is_mapped(own[0]):
            data = accepted.getsockopt(_SOL_IPV6, SO_ORIGINAL_DST, _SOCKADDR_IN6.size)
            port, address = _SOCKADDR_IN6.unpack(data)
            found: tuple[Address, int] = (IPv6Address(address), port)
        else:
            data = accepted.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, _SOCKADDR_IN.size)
            port, address = _SOCKADDR_IN.unpack(data)
            found = (IPv4Address(address), port)
    except OSError:
        return None  # ENOENT: no conntrack entry; ENOPROTOOPT: no conntrack at all; EINVAL: reset meanwhile
    # conntrack knows every connection.  One that was dialled to ourselves was not redirected, and serving it would
    # be a loop.
    return None if found[1] == own[1] and found[0] == _address(own[0]) else found


class NetfilterRedirects:
    """Implements `interface.RedirectSource`.  There are no records: a gateway's own connections are not forwarded,
    so prerouting never sees them."""

    def redirect_context(self, accepted: socket.socket) -> RedirectContext | None:
        destination = original_destination(accepted)
        if destination is None:
            return None
        return RedirectContext(_REGISTRATION, RULE_DEFAULT, 1, 0, 0, 0, destination, _TCP, _NO_FLAGS, b"")

    def redirect_records(self, accepted: socket.socket) -> bytes:
        del accepted
        return b""

    def apply_records(self, upstream: socket.socket, records: bytes) -> None:
        del upstream, records


class NetfilterDriver:
    """Implements `interface.Driver`: one registration, which nobody can take away."""

    def control(self, code: int, request: bytes, reply_size: int) -> bytes:
        del request, reply_size  # every reply is short
        match code:
            case Ioctl.QUERY_VERSION:
                return struct.pack("<IIII", 16, ABI_VERSION, 0, 0)
            case Ioctl.REGISTER:
                return struct.pack("<IIIIQ", 24, ABI_VERSION, _REGISTRATION, _LEASE_MS, 1)
            case Ioctl.RENEW | Ioctl.WITHDRAW:
                return b""
            case _:
                raise DriverError(f"IOCTL 0x{code:08X}", _INVALID_DEVICE_REQUEST)

    def close(self) -> None:
        pass


class NetfilterFilterEngine:
    """Implements `interface.FilterEngine`: what decides which connections come here is the operator's nft rules."""

    def replace(self, filters: Sequence[Filter]) -> None:
        del filters

    def close(self) -> None:
        pass


class NetfilterPersistentFilters:
    """Implements `interface.PersistentFilters`: what is to be closed here is for the operator's nft rules to say."""

    def replace(self, filters: Sequence[NativeFilter]) -> None:
        if filters:
            raise DriverError("persistent filters", _INVALID_DEVICE_REQUEST)

    def installed(self) -> list[InstalledFilter]:
        return []


class NetfilterSystem:
    """Implements `interface.System`."""

    def __init__(self) -> None:
        self.redirects = NetfilterRedirects()
        self.processes = NoProcesses()
        self.persistent_filters = NetfilterPersistentFilters()
        self.control = UnixChannel(user_directory())

    def open_driver(self) -> NetfilterDriver:
        return NetfilterDriver()

    def open_filter_engine(self) -> NetfilterFilterEngine:
        return NetfilterFilterEngine()

    def app_id(self, path: str) -> bytes:
        return path.encode("utf-16-le") + b"\0\0"

    def image_path(self, app_id: bytes) -> str:
        return app_id.decode("utf-16-le", "replace").rstrip("\0")

    def close(self) -> None:
        """Nothing is open."""


def _is_mapped(address: str) -> bool:
    return IPv6Address(address.partition("%")[0]).ipv4_mapped is not None


def _address(text: str) -> Address:
    if ":" not in text:
        return IPv4Address(text)
    address = IPv6Address(text.partition("%")[0])
    return address.ipv4_mapped or address
