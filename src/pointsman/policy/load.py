"""Turn the text of a policy file into a `Policy`, or say everything that is wrong with it at once.

Pure: it gets bytes, never a path; list files come through a reader.  It decides what a well-formed policy is, and
nothing about what a policy means.  Whoever edits a policy should need one round: all errors come together, each with
file, line, key, what was found and what is allowed.  docs/reference/policy.md describes the format.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace

from pointsman.errors import Exit, PointsmanError
from pointsman.policy.decision import Action
from pointsman.policy.load_groups import KINDS, Groups
from pointsman.policy.load_lines import Lines
from pointsman.policy.load_lists import ReadList
from pointsman.policy.load_rule import ACTIONS, RuleLoader, unknown_key
from pointsman.policy.load_upstreams import upstream
from pointsman.policy.load_values import listed, quote
from pointsman.policy.rules import Policy, Rule
from pointsman.policy.upstreams import Upstream

MAX_RULES = 10_000
TOP_KEYS = ("default", "groups", "upstreams", "rule")
DEFAULT_ACTIONS = {name: action for name, action in ACTIONS.items() if action is not Action.UPSTREAM}
MAX_ERRORS = 1000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def parse_policy(data: bytes, source: str, read: ReadList | None = None) -> Policy:
    """`read` gives the bytes of the list files that the policy names.

    Raises:
        PointsmanError: PM301 that lists every error.
    """
    return _Loader(source, read).load(data)


@dataclass(slots=True)
class _Loader:
    """One file on its way; errors are shown in the order of its lines, then those of the list files."""

    source: str
    read: ReadList | None
    errors: dict[tuple[str, int, str], None] = field(default_factory=dict)
    lines: Lines = field(default_factory=lambda: Lines(""))

    def load(self, data: bytes) -> Policy:
        table = self._table(data)
        for key in table:
            if key not in TOP_KEYS:
                self._error(self.lines.top(key), unknown_key(key, TOP_KEYS))
        default = self._default(table)
        upstreams = self._upstreams(table)
        groups = self._groups(table)
        loader = RuleLoader(
            groups,
            frozenset(one.name for one in upstreams),
            lambda index, key: self.lines.key(index, key),
            self._error,
        )
        rules = [loader.load(index, rule) for index, rule in enumerate(self._rule_tables(table))]
        self._check_names(rules)
        groups.check_unused()
        if self.errors:
            raise self._failure()
        lists = tuple(sorted({name for _, name in groups.lists}))
        return Policy(tuple(rules), default, self.source, tuple(upstreams), lists)

    def _table(self, data: bytes) -> dict[str, object]:
        try:
            text = data.decode("utf-8-sig")  # Windows editors like to add the mark
        except UnicodeDecodeError as error:
            self._error(data.count(b"\n", 0, error.start) + 1, f"not UTF-8: byte 0x{data[error.start]:02x}")
            raise self._failure() from None
        self.lines = Lines(text)
        try:
            table = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # a number of over 4300 digits
            found = re.search(r"\s*\(at line (\d+), column (\d+)\)", str(error))
            long = None if found else re.search(r"[\d_]{4300}", text)
            end = long.start() if long else len(text.rstrip())
            line = int(found[1]) if found else text.count("\n", 0, end) + 1
            message = str(error)[: found.start()] if found else str(error)
            self._error(line, f"not TOML: {message}" + (f" (column {found[2]})" if found else ""))
            raise self._failure() from None
        if not table:
            self._error(1, 'the file is empty; at least `default = "inspect"` is needed')
            raise self._failure()
        return table

    def _default(self, table: dict[str, object]) -> Action:
        value = table.get("default", "inspect")
        if isinstance(value, str) and value in DEFAULT_ACTIONS:
            return DEFAULT_ACTIONS[value]
        self._error(self.lines.top("default"), f"default: found {quote(value)}; allowed: {listed(DEFAULT_ACTIONS)}")
        return Action.INSPECT

    def _upstreams(self, table: dict[str, object]) -> list[Upstream]:
        found: list[Upstream] = []
        for name, value in self._named(table.get("upstreams", {}), "upstreams").items():
            where, line = f"upstreams.{name}", self.lines.top("upstreams", name)

            def complain(text: str, where: str = where, line: int = line) -> None:
                self._error(line, f"{where}: {text}")

            found.append(replace(upstream(name, value, complain), line=line))
        return found

    def _groups(self, table: dict[str, object]) -> Groups:
        groups: dict[str, dict[str, list[object]]] = {}
        found = table.get("groups", {})
        if not isinstance(found, dict):
            self._error(self.lines.top("groups"), f"groups: found {quote(found)}; allowed: tables {listed(KINDS)}")
            found = {}
        for kind, named in found.items():
            if kind not in KINDS:
                self._error(self.lines.top("groups", kind), f"groups.{unknown_key(kind, tuple(KINDS))}")
                continue
            groups[kind] = {
                name: value if isinstance(value, list) else [value]
                for name, value in self._named(named, f"groups.{kind}").items()
            }
        return Groups(
            self.source, groups, lambda kind, name: self.lines.top("groups", kind, name), self.read, self._error_in
        )

    def _named(self, value: object, where: str) -> dict[str, object]:
        """The entries of a table whose keys are names that a person chose."""
        if not isinstance(value, dict):
            self._error(self.lines.top(*where.split(".")), f"{where}: found {quote(value)}; allowed: a table of names")
            return {}
        for name in value:
            if not _NAME.fullmatch(name):
                line = self.lines.top(*where.split("."), name)
                self._error(
                    line, f"{where}: found the name {quote(name)}; allowed: letters, digits, `_` and `-`, at most 64"
                )
        return value

    def _rule_tables(self, table: dict[str, object]) -> list[dict[str, object]]:
        rules = table.get("rule", [])
        if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
            self._error(self.lines.top("rule"), f"rule: found {quote(rules)}; rules are tables under [[rule]]")
            return []
        if len(rules) > MAX_RULES:
            self._error(self.lines.rule(MAX_RULES), f"rule: found {len(rules)} rules; at most {MAX_RULES} are allowed")
            return []
        return rules

    def _check_names(self, rules: list[Rule]) -> None:
        seen: dict[str, Rule] = {}
        for rule in rules:
            if rule.name is not None and rule.name in seen:
                first = self.lines.key(seen[rule.name].id, "name")
                self._error(
                    self.lines.key(rule.id, "name"),
                    f"name: found {quote(rule.name)}, which the rule of line {first} has",
                )
            elif rule.name is not None:
                seen[rule.name] = rule

    def _error(self, line: int, text: str) -> None:
        self._error_in(self.source, line, text)

    def _error_in(self, source: str, line: int, text: str) -> None:
        self.errors[source, line, text] = None

    def _failure(self) -> PointsmanError:
        count = len(self.errors)
        in_order = sorted(self.errors, key=lambda error: (error[0] != self.source, error[0], error[1]))
        seen = [f"{source}:{line}: {text}" for source, line, text in in_order[:MAX_ERRORS]]
        if count > MAX_ERRORS:
            seen.append(f"and {count - MAX_ERRORS} more")
        return PointsmanError(
            f"cannot use the policy {self.source}: {count} error{'s' if count > 1 else ''}",
            code="PM301",
            seen="\n".join(seen),
            effect="no rule of this file is in force; what was in force before still is",
            do="mend the lines above and try again",
            status=Exit.POLICY,
        )
