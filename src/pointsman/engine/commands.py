"""What the engine wants done.

Plain values, to be carried out in order and at once.  `server` does, without asking why.
"""

from __future__ import annotations

from msgspec import Struct

from pointsman.engine.events import Side
from pointsman.engine.flow_record import FlowRecord
from pointsman.engine.messages import Subject
from pointsman.policy.match import Address
from pointsman.policy.upstreams import Upstream


class Dial(Struct, frozen=True, gc=False):
    """Connect to the destination; `Connected` or `ConnectFailed` answers.

    A second one takes the place of the first: what that had opened, or had under way, is dropped.
    """

    upstream: Upstream | None = None
    """Go through it; None: straight."""
    host: str | None = None
    """What the app called the destination, for an upstream that asks by name."""
    destination: tuple[Address, int] | None = None
    """Instead of the original one."""


class Send(Struct, frozen=True, gc=False):
    side: Side
    data: bytes


class End(Struct, frozen=True, gc=False):
    """Send FIN to this side after what is queued; go on reading from it."""

    side: Side


class Pause(Struct, frozen=True, gc=False):
    """Stop reading from this side, so that its peer feels the congestion."""

    side: Side


class Resume(Struct, frozen=True, gc=False):
    side: Side


class MintLeaf(Struct, frozen=True, gc=False):
    """Get a server context with a leaf for `names`; `LeafReady` or `LeafFailed` answers."""

    names: tuple[str, ...]
    """The name the app asked for first."""
    alpn: str | None
    revocations: str | None = None
    """URL of the list of revoked certificates that the leaf is to name."""


class Learn(Struct, frozen=True, gc=False):
    """The app has refused our certificate for this host, or we cannot stand between; the next attempt should be
    relayed."""

    host: str
    reason: str
    lasted: float = 0.0
    """Seconds since the app's hello."""


class Consult(Struct, frozen=True, gc=False):
    """Ask whoever listens to `hook` about `subject`, which they may change; `Consulted` with this number answers."""

    number: int
    """Of the question, unique in this connection."""
    hook: str
    subject: Subject


class Report(Struct, frozen=True, gc=False):
    record: FlowRecord


class Close(Struct, frozen=True, gc=False):
    """Send what is queued, then close both sides.  The engine still ticks until they are closed."""


class Abort(Struct, frozen=True, gc=False):
    """Reset both sides (RST), give up a dial.  Nothing follows."""


Command = Dial | Send | End | Pause | Resume | MintLeaf | Learn | Consult | Report | Close | Abort
