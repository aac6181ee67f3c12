"""A WFP filter as a value: what the policy compiler says and what a filter engine is told.

The fields and match types are those of WFP (fwptypes.h, fwpmu.h), restricted to what we use.  Addresses are
`ipaddress` values, ports and protocols plain integers; byte order is the business of `system.fwpm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from ipaddress import IPv4Network, IPv6Network


class Layer(IntEnum):
    """FWPS layer ids (fwpsk.h) of the four layers at which the driver has a callout."""

    AUTH_CONNECT_V4 = 48
    AUTH_CONNECT_V6 = 50
    CONNECT_REDIRECT_V4 = 66
    CONNECT_REDIRECT_V6 = 67


class Field(Enum):
    APP_ID = "ALE_APP_ID"
    USER_ID = "ALE_USER_ID"
    PROTOCOL = "IP_PROTOCOL"
    REMOTE_ADDRESS = "IP_REMOTE_ADDRESS"
    REMOTE_PORT = "IP_REMOTE_PORT"
    FLAGS = "FLAGS"


@dataclass(frozen=True, slots=True)
class Condition:
    """`field` is one of `value`: an app id, a number, an inclusive range of numbers, or a network.

    For USER_ID the value is a self-relative security descriptor that must grant FWP_ACTRL_MATCH_FILTER to the token.
    For FLAGS it is a mask of which no bit may be set.
    Conditions of one filter on the same field must stand side by side: WFP ORs them; different fields are ANDed.
    """

    field: Field
    value: bytes | int | tuple[int, int] | IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter at one layer, always with our callout of that layer as its action.

    `weight` is exact (FWP_UINT64), greater first.  `context` is the raw context that the driver reads
    (`pointsman_abi.h`, PM_FILTER_*): registration, verdict and rule id.
    """

    name: str
    layer: Layer
    weight: int
    context: int
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class NativeFilter:
    """A filter that permits or blocks by itself, without a driver or a proxy: for what must hold when neither runs."""

    name: str
    layer: Layer
    weight: int
    blocks: bool
    conditions: tuple[Condition, ...] = ()


MAX_PERSISTENT = 1024
"""Native filters that are installed at a time; each has a number and, by it, a key that never changes."""


@dataclass(frozen=True, slots=True)
class InstalledFilter:
    """What the filter engine tells of a native filter that is installed."""

    name: str
    layer: Layer
    blocks: bool
