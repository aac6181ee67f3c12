"""What is to happen to a connection, and which rule says so.

Pure words.  How an action is carried out is the business of the kernel (`direct`, `block`) and of the engine.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pointsman.policy.rules import Rule

DEFAULT_NAME = "default"


class Action(Enum):
    DIRECT = "direct"
    """Never touched by the proxy; if it reached us all the same, relayed."""
    BLOCK = "block"
    RELAY = "relay"
    """Through the proxy, never decrypted."""
    INSPECT = "inspect"
    """Through the proxy, decrypted, observed, unchanged."""
    INTERCEPT = "intercept"
    """Through the proxy, decrypted, rebuilt, may be changed."""
    UPSTREAM = "upstream"
    """Through the proxy and on through another proxy, never decrypted: `relay` with an `upstream`."""

    @property
    def decrypts(self) -> bool:
        return self in (Action.INSPECT, Action.INTERCEPT)

    @property
    def is_for_kernel(self) -> bool:
        """The kernel can carry it out alone."""
        return self in (Action.DIRECT, Action.BLOCK)


class Decision(Struct, frozen=True, gc=False):
    action: Action
    rule: Rule | None
    """None: no rule matched, it is the default."""

    @property
    def rule_name(self) -> str:
        return self.rule.label if self.rule else DEFAULT_NAME
