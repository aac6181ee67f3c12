"""A policy as values: ordered rules, the first match wins, and a default.

Pure and already checked: whoever holds a `Policy` need not ask whether it makes sense.  `load` makes one from text,
`match` says what it means, `compile` says it to the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from pointsman.policy.apps import AppSet
from pointsman.policy.decision import Action
from pointsman.policy.tables import HostSet, NetworkSet
from pointsman.policy.upstreams import Upstream

DAY = 24 * 60  # minutes
WEEK = 7 * DAY  # minutes


class Protocol(Enum):
    """The value is IANA's number."""

    TCP = 6
    UDP = 17


class Detected(Enum):
    """What the first bytes of a TCP connection were."""

    TLS = "tls"
    HTTP = "http"
    """HTTP/1 in clear."""


class OnFailure(Enum):
    """What is to become of a connection when no proxy is there to handle it."""

    OPEN = "open"
    CLOSED = "closed"


class OnInvalid(Enum):
    """What an app gets whose connection is decrypted, and whose origin has a certificate that is not valid."""

    ALERT = "alert"
    """A fatal TLS alert of the same meaning."""
    PAGE = "page"
    """An error page with the reason."""
    RELAY = "relay"
    """The origin itself, undecrypted: the app judges."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of the day, in local time, on some days of the week."""

    days: frozenset[int]
    """0 is Monday."""
    start: int
    """Minute of the day."""
    end: int
    """Minute of the day, not included; at or before `start` it is one of the next day."""

    def holds(self, minute: int) -> bool:
        """`minute`: of the week, Monday 00:00 is 0."""
        length = (self.end - self.start) % DAY or DAY
        return any((minute - day * DAY - self.start) % WEEK < length for day in self.days)


@dataclass(frozen=True, slots=True)
class Rule:
    """An empty set or tuple, and no protocol, match everything; within one of them any one is enough."""

    id: int
    """Its place in the file from 0: what the kernel's filters and counters carry."""
    name: str | None
    action: Action
    app: AppSet = field(default_factory=AppSet)
    net: NetworkSet = field(default_factory=NetworkSet)
    ports: tuple[tuple[int, int], ...] = ()
    """Inclusive ranges."""
    host: HostSet = field(default_factory=HostSet)
    protocol: Protocol | None = None
    detected: Detected | None = None
    parent: AppSet = field(default_factory=AppSet)
    """A program that the app descends from."""
    user: tuple[str, ...] = ()
    """Lower case."""
    service: tuple[str, ...] = ()
    """Lower case."""
    method: tuple[str, ...] = ()
    """Upper case."""
    path: tuple[str, ...] = ()
    """Globs over the path of an HTTP request."""
    time: tuple[Window, ...] = ()
    upstream: str | None = None
    """A name of `Policy.upstreams`: through it go the connections that this rule relays, inspects or intercepts."""
    on_failure: OnFailure = OnFailure.OPEN
    on_invalid: OnInvalid = OnInvalid.ALERT
    client_certificate: str | None = None
    """A file with certificate and key, relative to the policy: shown to origins that ask for one."""
    line: int = 0
    """Where it starts in the source, from 1."""

    asks_what_was_said: bool = field(init=False, compare=False, repr=False)
    """It depends on what the app says once it is connected: on TCP alone, and after the kernel has decided."""
    asks_process: bool = field(init=False, compare=False, repr=False)
    asks_app: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Worked out once: every connection asks them of every rule.
        said = bool(self.host or self.detected or self.method or self.path)
        object.__setattr__(self, "asks_what_was_said", said)
        object.__setattr__(self, "asks_process", bool(self.parent or self.user or self.service))
        object.__setattr__(self, "asks_app", bool(self.app))

    @property
    def label(self) -> str:
        return self.name or f"rule {self.id + 1}"


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...]
    default: Action
    source: str
    """The file it came from, for people."""
    upstreams: tuple[Upstream, ...] = ()
    lists: tuple[str, ...] = ()
    """The list files that were read for it."""
    index: list[object] = field(default_factory=list, init=False, compare=False, repr=False)
    """Of `policy.index`, which makes it when somebody first asks."""
    asks_process: bool = field(init=False, compare=False, repr=False)
    """Some rule has to know whose a process is, or where it comes from."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "asks_process", any(rule.asks_process for rule in self.rules))

    def upstream_of(self, rule: Rule | None) -> Upstream | None:
        """None: straight to the origin."""
        if rule is None or rule.upstream is None:
            return None
        return next(one for one in self.upstreams if one.name == rule.upstream)


def active_at(policy: Policy, minute: int) -> Policy:
    """The policy with those rules that apply in this minute of the week; the kernel and the proxy both get this one."""
    if not any(rule.time for rule in policy.rules):
        return policy
    rules = tuple(rule for rule in policy.rules if not rule.time or any(one.holds(minute) for one in rule.time))
    return replace(policy, rules=rules)
