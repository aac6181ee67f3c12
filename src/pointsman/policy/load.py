"""Turn the text of a policy file into a `Policy`, or say everything that is wrong with it at once.

Pure: it gets bytes, never a path.  It decides what a well-formed policy is, and nothing about what a policy
means.  Whoever edits a policy should need one round: all errors come together, each with file, line, key, what was
found and what is allowed.

    default = "inspect"

    [[rule]]
    name = "updates go direct"
    app = '/usr/bin/apt'
    host = ["*.debian.org", "debian.org"]
    action = "relay"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

from pointsman.errors import Exit, PointsmanError
from pointsman.policy.decision import Action
from pointsman.policy.load_lines import Lines
from pointsman.policy.rules import Network, Policy, Protocol, Rule
from pointsman.wire.client_hello import host_name

DEFAULT_POLICY_TEXT = """\
# What pointsman does without a policy file.
default = "inspect"

[[rule]]
name = "no QUIC"  # clients fall back to TCP, which can be inspected
protocol = "udp"
port = 443
action = "block"
"""
MAX_RULES = 10_000
MAPPED = IPv6Network("::ffff:0:0/96")
_ACTIONS = {action.value: action for action in Action}
_PROTOCOLS = {protocol.name.lower(): protocol for protocol in Protocol}
_RULE_KEYS = ("name", "app", "net", "port", "host", "protocol", "action")
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]|\\")
T = TypeVar("T")
_LONGEST_QUOTE = 60  # characters of a found value that an error repeats


def default_policy() -> Policy:
    return parse_policy(DEFAULT_POLICY_TEXT.encode(), "built-in policy")


def parse_policy(data: bytes, source: str) -> Policy:
    """Raises PointsmanError PM301 that lists every error."""
    return _Loader(source).load(data)


class _Loader:
    """One file on its way; `errors` are collected in the order of the file's keys."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._errors: list[tuple[int, str]] = []
        self._lines = Lines("")

    def load(self, data: bytes) -> Policy:
        table = self._table(data)
        for key in table:
            if key not in ("default", "rule"):
                self._unknown_key(self._lines.top(key), key, ("default", "rule"))
        default = Action.INSPECT
        if "default" in table:
            default = self._choice(table["default"], "default", self._lines.top("default"), _ACTIONS) or default
        rules = [self._rule(index, rule) for index, rule in enumerate(self._rule_tables(table))]
        if self._errors:
            raise self._failure()
        return Policy(tuple(rules), default, self._source)

    def _table(self, data: bytes) -> dict[str, object]:
        try:
            text = data.decode("utf-8-sig")  # Windows editors like to add the mark
        except UnicodeDecodeError as error:
            self._error(data.count(b"\n", 0, error.start) + 1, f"not UTF-8: byte 0x{data[error.start]:02x}")
            raise self._failure() from None
        self._lines = Lines(text)
        try:
            table = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            found = re.search(r"\s*\(at line (\d+), column (\d+)\)", str(error))
            line = int(found[1]) if found else max(1, text.count("\n"))
            message = str(error)[: found.start()] if found else str(error)
            self._error(line, f"not TOML: {message}" + (f" (column {found[2]})" if found else ""))
            raise self._failure() from None
        if not table:
            self._error(1, 'the file is empty; at least `default = "inspect"` is needed')
            raise self._failure()
        return table

    def _rule_tables(self, table: dict[str, object]) -> list[dict[str, object]]:
        rules = table.get("rule", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            self._error(self._lines.top("rule"), f"rule: found {_quote(rules)}; rules are tables under [[rule]]")
            return []
        if len(rules) > MAX_RULES:
            self._error(self._lines.rule(MAX_RULES), f"rule: found {len(rules)} rules; at most {MAX_RULES} are allowed")
            return []
        return rules

    def _rule(self, index: int, table: dict[str, object]) -> Rule:
        def line(key: str) -> int:
            return self._lines.key(index, key)

        for key in table:
            if key not in _RULE_KEYS:
                self._unknown_key(line(key), key, _RULE_KEYS)
        action = Action.BLOCK
        if "action" in table:
            action = self._choice(table["action"], "action", line("action"), _ACTIONS) or action
        else:
            self._error(self._lines.rule(index), f"action: missing; one of {_list(_ACTIONS)} is needed")
        protocol = None
        if "protocol" in table:
            protocol = self._choice(table["protocol"], "protocol", line("protocol"), _PROTOCOLS)
        if protocol is Protocol.UDP and "host" in table:
            self._error(line("host"), 'host: nobody reads a host out of UDP; use `net`, or drop `protocol = "udp"`')

        def many(key: str, one: Callable[[object], T]) -> tuple[T, ...]:
            return self._many(table[key], key, line(key), one) if key in table else ()

        return Rule(
            id=index,
            name=self._name(table.get("name"), line("name")),
            action=action,
            app=many("app", _app),
            net=many("net", _network),
            ports=many("port", _ports),
            host=many("host", _host),
            protocol=protocol,
            line=self._lines.rule(index),
        )

    def _name(self, value: object, line: int) -> str | None:
        if value is None or (isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()):
            return value
        self._error(line, f"name: found {_quote(value)}; allowed: 1 to 100 printable characters")
        return None

    def _choice(self, value: object, key: str, line: int, choices: dict[str, T]) -> T | None:
        if isinstance(value, str) and value in choices:
            return choices[value]
        self._error(line, f"{key}: found {_quote(value)}; allowed: {_list(choices)}")
        return None

    def _many(self, value: object, key: str, line: int, one: Callable[[object], T]) -> tuple[T, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            self._error(line, f"{key}: found an empty list, which matches nothing; drop the key to match everything")
        found: list[T] = []
        for item in values:
            try:
                found.append(one(item))
            except ValueError as error:
                self._error(line, f"{key}: found {_quote(item)}; allowed: {error}")
        return tuple(dict.fromkeys(found))

    def _unknown_key(self, line: int, key: str, allowed: tuple[str, ...]) -> None:
        self._error(line, f"{key}: unknown key; allowed: {', '.join(allowed)}")

    def _error(self, line: int, text: str) -> None:
        self._errors.append((line, f"{self._source}:{line}: {text}"))

    def _failure(self) -> PointsmanError:
        count = len(self._errors)
        return PointsmanError(
            f"cannot use the policy {self._source}: {count} error{'s' if count > 1 else ''}",
            code="PM301",
            seen="\n".join(text for _, text in sorted(self._errors, key=lambda error: error[0])),
            effect="no rule of this file is in force; what was in force before still is",
            do="mend the lines above and try again",
            status=Exit.POLICY,
        )


def _app(value: object) -> str:
    if isinstance(value, str) and _ABSOLUTE.match(value) and "\0" not in value:
        return value
    raise ValueError("the full path of a program, such as 'C:\\Program Files\\App\\app.exe' or '/usr/bin/curl'")


def _network(value: object) -> Network:
    allowed = 'an address or a network, such as "192.0.2.7", "10.0.0.0/8" or "2001:db8::/32"'
    if not isinstance(value, str):
        raise ValueError(allowed)
    try:
        network = ip_network(value)
    except ValueError:
        try:
            whole = ip_network(value, strict=False)
        except ValueError:
            raise ValueError(allowed) from None
        raise ValueError(f'the network without host bits, "{whole}"') from None
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
    return network


def _ports(value: object) -> tuple[int, int]:
    first, last = 0, 0
    if isinstance(value, int) and not isinstance(value, bool):
        first = last = value
    elif isinstance(value, str) and (found := re.fullmatch(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?", value, re.ASCII)):
        first, last = int(found[1]), int(found[2] or found[1])
    if 1 <= first <= last <= 65535:
        return first, last
    raise ValueError('a port from 1 to 65535, or a range such as "8000-8099"')


def _host(value: object) -> str:
    allowed = 'a host name, or every name below one: "example.com", "*.example.com" (an address goes into `net`)'
    if not isinstance(value, str):
        raise ValueError(allowed)
    star = "*." if value.startswith("*.") else ""
    try:
        name = host_name(value.removeprefix("*.").encode("idna").decode("ascii"))
    except UnicodeError:
        name = None
    if name is None:
        raise ValueError(allowed)
    return star + name


def _quote(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"


def _list(choices: Iterable[str]) -> str:
    return ", ".join(f'"{choice}"' for choice in choices)
