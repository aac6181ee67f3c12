"""What the engine wants done.

Plain values, to be carried out in order and at once.  `server` does, without asking why.
"""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.engine.events import Side
from pointsman.engine.flow_record import FlowRecord


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to the original destination; `Connected` or `ConnectFailed` answers."""


@dataclass(frozen=True, slots=True)
class Send:
    side: Side
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """Send FIN to this side after what is queued; go on reading from it."""

    side: Side


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading from this side, so that its peer feels the congestion."""

    side: Side


@dataclass(frozen=True, slots=True)
class Resume:
    side: Side


@dataclass(frozen=True, slots=True)
class MintLeaf:
    """Get a server context with a leaf for `names`; `LeafReady` or `LeafFailed` answers."""

    names: tuple[str, ...]
    """The name the app asked for first."""
    alpn: str | None


@dataclass(frozen=True, slots=True)
class Report:
    record: FlowRecord


@dataclass(frozen=True, slots=True)
class Close:
    """Send what is queued, then close both sides.  The engine still ticks until they are closed."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Reset both sides (RST), give up a dial.  Nothing follows."""


Command = Dial | Send | End | Pause | Resume | MintLeaf | Report | Close | Abort
