"""What the policy says about the single requests of one connection.

A connection is decided by what it shows before it is opened; a request inside of it has a method, a path and a host of
its own (another host than the TLS hello said: HTTP/2 clients put several onto one connection).  The rules are asked
again with those.  What cannot be undone on an open connection (`direct`, `relay`, `upstream`) then means: pass it on
unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from pointsman.policy.decision import Action, Decision
from pointsman.policy.match import UNKNOWN, Connection, evaluate, possible
from pointsman.policy.rules import Policy
from pointsman.wire.http_head import HttpHead

REMEMBERED = 64  # requests whose decision is remembered


@dataclass(frozen=True, slots=True)
class Depth:
    """How closely the requests of a connection have to be looked at."""

    may_refuse: bool
    may_change: bool


class RequestPolicy:
    def __init__(self, policy: Policy, connection: Connection, decision: Decision) -> None:
        """`connection` as it was decided, with the decision."""
        self._policy = policy
        self._connection = replace(connection, method=UNKNOWN, path=UNKNOWN, host=UNKNOWN)
        self._host = connection.host
        self._decision = decision
        found = possible(policy, self._connection)
        self._is_settled = len(found) == 1
        self.depth = Depth(
            may_refuse=any(one.action is Action.BLOCK for one in found),
            may_change=any(one.action is Action.INTERCEPT for one in (*found, decision)),
        )
        self._of_hosts: dict[tuple[str, str | None], Decision | None] = {}
        """By method and host, where no path makes a difference; None: one may."""
        self._remembered: dict[tuple[str, str, str | None], Decision] = {}

    def decide(self, method: str, target: str, host: str | None) -> Decision:
        """`host` is None if the request names none: then it is the connection's."""
        if self._is_settled:
            return self._decision
        whom = method, host
        if whom not in self._of_hosts:
            if len(self._of_hosts) >= REMEMBERED:
                self._of_hosts.clear()
            self._of_hosts[whom] = self._for_any_path(method, host)
        known = self._of_hosts[whom]
        if known is not None:
            return known
        key = method, target, host
        known = self._remembered.get(key)
        if known is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            known = self._remembered[key] = self._evaluate(method, target, host)
        return known

    def _for_any_path(self, method: str, host: str | None) -> Decision | None:
        found = possible(self._policy, replace(self._connection, method=method, host=host or self._host))
        return found[0] if len(found) == 1 else None

    def _evaluate(self, method: str, target: str, host: str | None) -> Decision:
        path = HttpHead(method, target, host).path
        asked = replace(self._connection, method=method, path=path, host=host or self._host)
        return evaluate(self._policy, asked)
