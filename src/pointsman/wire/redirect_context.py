"""What the driver attached to a redirected connection: who dialled whom.

Bytes ⇄ value (`pm_redirect_context`).  On Windows they come from WSAIoctl on the accepted socket, in the lab from the
simulated kernel; in both cases bytes of another size, magic or version are somebody else's and are refused.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from pointsman.wire.abi import ABI_VERSION, AbiError, Address, Flag

MAGIC = 0x43524D50  # "PMRC"
_flags = lru_cache(maxsize=16)(Flag)  # an enumeration takes its time, and a machine has few combinations
_LAYOUT = struct.Struct("<IHHIIQQQIHBB16sHH20x416s8x")
SIZE = _LAYOUT.size


class RedirectContext(Struct, frozen=True, gc=False):
    registration: int
    rule_id: int
    """`abi.RULE_DEFAULT` if no rule of the policy matched in the kernel."""
    generation: int
    time: int
    """100 ns since 1601-01-01 UTC."""
    process_start: int
    """100 ns since 1601-01-01 UTC; 0 if the driver could not tell."""
    pid: int
    original_destination: tuple[Address, int]
    protocol: int
    """IANA number."""
    flags: Flag
    app_id: bytes
    """Lower-case NT path in UTF-16LE, without terminator; cut if `Flag.APP_ID_TRUNCATED`."""


def decode_redirect_context(data: bytes) -> RedirectContext:
    """Raises AbiError for anything that our driver of this ABI version did not write."""
    if len(data) != SIZE:
        raise AbiError(f"a redirect context has {SIZE} bytes, not {len(data)}")
    (
        magic, version, size, registration, rule_id, generation, time, process_start, pid, port, family, protocol,
        address, flags, app_id_size, app_id,
    ) = _LAYOUT.unpack(data)  # fmt: skip
    if magic != MAGIC or version != ABI_VERSION or size != SIZE:
        raise AbiError(f"not our redirect context: magic 0x{magic:08X}, version {version}, size {size}")
    remote: Address
    if family == 4:
        remote = IPv4Address(address[:4])
    elif family == 6:
        remote = IPv6Address(address)
    else:
        raise AbiError(f"address family {family} is neither 4 nor 6")
    if app_id_size > len(app_id):
        raise AbiError(f"app id of {app_id_size} bytes, at most {len(app_id)} fit")
    return RedirectContext(
        registration, rule_id, generation, time, process_start, pid, (remote, port), protocol, _flags(flags),
        app_id[:app_id_size],
    )  # fmt: skip


def encode_redirect_context(context: RedirectContext) -> bytes:
    """The driver's side, for tests and doubles."""
    remote, port = context.original_destination
    return _LAYOUT.pack(
        MAGIC, ABI_VERSION, SIZE, context.registration, context.rule_id, context.generation, context.time,
        context.process_start, context.pid, port, remote.version, context.protocol, remote.packed.ljust(16, b"\0"),
        context.flags, len(context.app_id), context.app_id,
    )  # fmt: skip
