"""What every connection of one proxy goes by, as one value: a change of policy makes another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pointsman.engine.interception import UpstreamTls
from pointsman.engine.learned import Learned, Memory
from pointsman.engine.messages import Subject
from pointsman.engine.rebuild import later, nobody
from pointsman.engine.sessions import Sessions
from pointsman.policy.rules import Policy


def anything(name: str) -> bool:
    del name
    return True


@dataclass(frozen=True, slots=True)
class Settings:
    policy: Policy
    upstream_tls: UpstreamTls
    learned: Memory = field(default_factory=Learned)
    sessions: Sessions = field(default_factory=Sessions)
    idle_timeout: float = 600.0  # seconds without a byte
    dial_timeout: float = 20.0  # seconds
    life_timeout: float = float("inf")  # seconds from the first to the last moment
    max_bytes: float = float("inf")  # bytes of a connection, both ways together, inside TLS if that is opened
    close_timeout: float = 60.0  # seconds for the last bytes to leave
    certified_tls: Callable[[str], UpstreamTls] | None = None
    """As `upstream_tls`, with the client certificate in this file."""
    may_sign: Callable[[str], bool] = anything
    """Is this name within what our root may sign for?"""
    revocations: Callable[[], bytes] | None = None
    """Our list of revoked certificates (DER), for who asks (`engine.revocations`)."""
    hooks: Callable[[], frozenset[str]] = nobody
    """The hooks that somebody listens to now; of others nobody is asked."""
    answer: Callable[[str, Subject], bool] = later
    """Has whoever listens to this hook answer at once; False: nobody was asked, and it takes a `Consult`."""
