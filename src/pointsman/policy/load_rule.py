"""One `[[rule]]` table: from what TOML gives to a checked `Rule`.

Pure.  It decides which keys a rule has and how they go together; `load_values` decides about single values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pointsman.policy import load_values
from pointsman.policy.apps import AppSet
from pointsman.policy.decision import Action
from pointsman.policy.load_groups import Groups
from pointsman.policy.load_lists import Gathered
from pointsman.policy.load_values import listed, quote
from pointsman.policy.rules import Detected, OnFailure, OnInvalid, Protocol, Rule
from pointsman.policy.tables import HostSet, NetworkSet

T = TypeVar("T")
ACTIONS = {action.value: action for action in Action}
PROTOCOLS: dict[str, tuple[Protocol, Detected | None]] = {
    "tcp": (Protocol.TCP, None),
    "udp": (Protocol.UDP, None),
    "tls": (Protocol.TCP, Detected.TLS),
    "http": (Protocol.TCP, Detected.HTTP),
    "quic": (Protocol.UDP, None),
}
QUIC_PORT = 443
RULE_KEYS = (
    "name", "app", "parent", "service", "user", "net", "port", "host", "protocol", "method", "path", "time",
    "action", "upstream", "on_failure", "on_invalid", "client_certificate",
)  # fmt: skip
_ON_FAILURE = {one.value: one for one in OnFailure}
_ON_INVALID = {one.value: one for one in OnInvalid}
_DECRYPTING_KEYS = ("on_invalid", "client_certificate")
_SAID_KEYS = ("host", "method", "path", "parent")
"""What only the proxy learns, and it sees no UDP."""


@dataclass(frozen=True, slots=True)
class RuleLoader:
    groups: Groups
    upstreams: frozenset[str]
    line: Callable[[int, str], int]
    """Of a key of the rule with this index; of the rule itself for a key that is not there."""
    error: Callable[[int, str], None]

    def load(self, index: int, table: dict[str, object]) -> Rule:
        """Complains about everything; what comes back is of use only if nobody complained."""

        def line(key: str) -> int:
            return self.line(index, key)

        def many(key: str, one: Callable[[object], T]) -> tuple[T, ...]:
            values = self._list(table[key], key, line(key)) if key in table else []
            return self._many(values, key, line(key), one)

        for key in table:
            if key not in RULE_KEYS:
                self.error(line(key), unknown_key(key, RULE_KEYS))
        if "action" not in table:
            self.error(line("action"), f"action: missing; one of {listed(ACTIONS)} is needed")
        action = self._choice(table, "action", line("action"), ACTIONS) or Action.BLOCK
        protocol, detected = self._choice(table, "protocol", line("protocol"), PROTOCOLS) or (None, None)
        ports = many("port", load_values.ports)
        if table.get("protocol") == "quic" and not ports:
            ports = ((QUIC_PORT, QUIC_PORT),)
        hosts = self._gathered("hosts", "host", table, line)
        rule = Rule(
            id=index,
            name=self._name(table.get("name"), line("name")),
            action=action,
            app=AppSet.of(self._gathered("apps", "app", table, line).apps),
            parent=AppSet.of(self._gathered("apps", "parent", table, line).apps),
            service=many("service", load_values.service),
            user=many("user", load_values.user),
            net=NetworkSet.made(self._gathered("networks", "net", table, line).prefixes),
            ports=ports,
            host=HostSet(frozenset(hosts.exact), frozenset(hosts.below)),
            protocol=protocol,
            detected=detected,
            method=many("method", load_values.method),
            path=many("path", load_values.path),
            time=many("time", load_values.window),
            upstream=self._upstream(table, action, line),
            on_failure=self._choice(table, "on_failure", line("on_failure"), _ON_FAILURE) or OnFailure.OPEN,
            on_invalid=self._choice(table, "on_invalid", line("on_invalid"), _ON_INVALID) or OnInvalid.ALERT,
            client_certificate=self._certificate(table.get("client_certificate"), line("client_certificate")),
            line=self.line(index, ""),
        )
        self._check_together(rule, table, line)
        return rule

    def _check_together(self, rule: Rule, table: dict[str, object], line: Callable[[str], int]) -> None:
        """Keys that are right each by itself."""
        if rule.protocol is Protocol.UDP:
            for key in _SAID_KEYS:
                if key in table:
                    instead = "use `net`" if key == "host" else f"drop `{key}`"
                    what = "nobody reads a host out of UDP" if key == "host" else "the proxy, which looks, sees no UDP"
                    protocol = str(table["protocol"])
                    self.error(line(key), f'{key}: {what}; {instead}, or drop `protocol = "{protocol}"`')
        if rule.detected is Detected.TLS and (rule.method or rule.path):
            key = "method" if rule.method else "path"
            self.error(
                line(key), f'{key}: inside TLS nobody sees it before decrypting; use `protocol = "http"` or drop it'
            )
        for key in _DECRYPTING_KEYS:
            if key in table and not rule.action.decrypts:
                self.error(
                    line(key), f'{key}: found with action "{rule.action.value}"; allowed: "inspect", "intercept"'
                )
        if rule.user and rule.service:
            self.error(
                line("service"), "service: found together with `user`; WFP asks one question about a token: use one"
            )
        if rule.on_failure is OnFailure.CLOSED:
            if rule.action.is_for_kernel:
                self.error(
                    line("on_failure"),
                    f'on_failure: found "closed" with action "{rule.action.value}", which needs no proxy',
                )
            elif rule.asks_what_was_said or rule.parent or rule.time:
                self.error(
                    line("on_failure"),
                    'on_failure: found "closed" with host, parent, method, path, time or protocol tls/http, which '
                    "nobody looks at without a proxy; allowed: app, user, service, net, port, protocol tcp",
                )

    def _gathered(self, kind: str, key: str, table: dict[str, object], line: Callable[[str], int]) -> Gathered:
        into = Gathered()
        if key in table:
            values = self._list(table[key], key, line(key))
            self.groups.gather(kind, values, into, line(key), key)
        return into

    def _upstream(self, table: dict[str, object], action: Action, line: Callable[[str], int]) -> str | None:
        name = table.get("upstream")
        if action is Action.UPSTREAM and name is None:
            self.error(line("action"), 'upstream: missing; action "upstream" needs the name of one of [upstreams]')
        elif name is not None and (not isinstance(name, str) or name not in self.upstreams):
            known = listed(sorted(self.upstreams)) or "none"
            self.error(line("upstream"), f"upstream: found {quote(name)}; names in [upstreams]: {known}")
        elif name is not None and action.is_for_kernel:
            self.error(
                line("upstream"),
                f'upstream: found with action "{action.value}"; allowed: "upstream", "relay", "inspect", "intercept"',
            )
        return name if isinstance(name, str) else None

    def _name(self, value: object, line: int) -> str | None:
        if value is None or (isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()):
            return value
        self.error(line, f"name: found {quote(value)}; allowed: 1 to 100 printable characters")
        return None

    def _certificate(self, value: object, line: int) -> str | None:
        if value is None or (isinstance(value, str) and 0 < len(value) <= 1000 and value.isprintable()):
            return value
        self.error(line, f"client_certificate: found {quote(value)}; allowed: a PEM file with certificate and key")
        return None

    def _choice(self, table: dict[str, object], key: str, line: int, choices: dict[str, T]) -> T | None:
        if key not in table:
            return None
        value = table[key]
        if isinstance(value, str) and value in choices:
            return choices[value]
        self.error(line, f"{key}: found {quote(value)}; allowed: {listed(choices)}")
        return None

    def _list(self, value: object, key: str, line: int) -> list[object]:
        values = value if isinstance(value, list) else [value]
        if not values:
            self.error(line, f"{key}: found an empty list, which matches nothing; drop the key to match everything")
        return values

    def _many(self, values: list[object], key: str, line: int, one: Callable[[object], T]) -> tuple[T, ...]:
        found: list[T] = []
        for item in values:
            try:
                found.append(one(item))
            except ValueError as error:
                self.error(line, f"{key}: found {quote(item)}; allowed: {error}")
        return tuple(dict.fromkeys(found))


def unknown_key(key: str, allowed: tuple[str, ...]) -> str:
    return f"{key}: unknown key; allowed: {', '.join(allowed)}"
