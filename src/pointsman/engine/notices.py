"""What listeners are told about an intercepted connection as such, before and after what travels on it.

One question is waited for: `tls_clienthello`, whose answer may be that the connection is not to be decrypted.
"""

from __future__ import annotations

from collections.abc import Callable

from pointsman.engine.commands import Command, Consult
from pointsman.engine.flow_record import Flow
from pointsman.engine.messages import ConnectionNotice
from pointsman.engine.peek import Peeked
from pointsman.policy.decision import Action, Decision

HELLO_NUMBER = 0
"""Of that question; those of exchanges count from 1."""
_UNANSWERED = -1  # of those that nobody waits for


class Notices:
    def __init__(self, flow: Flow, hooks: Callable[[], frozenset[str]]) -> None:
        self._flow = flow
        self._hooks = hooks
        self._notice: ConnectionNotice | None = None
        self.is_asking = False

    @property
    def ignored(self) -> bool:
        return self._notice is not None and self._notice.ignore

    def decided(self, decision: Decision, peeked: Peeked) -> list[Command]:
        """Only who may change a connection hears of it."""
        wanted = self._hooks()
        if decision.action is not Action.INTERCEPT or not wanted:
            return []
        alpn = peeked.hello.alpn if peeked.hello is not None else ()
        self._notice = ConnectionNotice(self._flow, decision.action.value, decision.rule_name, peeked.host, alpn)
        commands = self._tell("client_connected")
        if peeked.hello is not None and "tls_clienthello" in wanted:
            self.is_asking = True
            commands.append(Consult(HELLO_NUMBER, "tls_clienthello", self._notice))
        return commands

    def answered(self, number: int) -> bool:
        """True if that is the answer that was waited for."""
        was_asking, self.is_asking = self.is_asking, self.is_asking and number != HELLO_NUMBER
        return was_asking and not self.is_asking

    def connected(self) -> list[Command]:
        return self._tell("server_connected")

    def disconnected(self, error: str | None) -> list[Command]:
        if self._notice is not None:
            self._notice.error = error
        return self._tell("client_disconnected")

    def _tell(self, hook: str) -> list[Command]:
        if self._notice is None or hook not in self._hooks():
            return []
        return [Consult(_UNANSWERED, hook, self._notice)]
