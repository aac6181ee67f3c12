"""Expected outcomes as a table, so that people can test a policy in their own CI.

Pure.  A case file is TOML; each case asks what `pointsman why` would say:

    [[case]]
    app = "/usr/bin/curl"
    to = "93.184.216.34:443"
    host = "example.com"     # also: protocol, method, path, parent, user, service, at, new
    expect = "inspect"       # and, if it matters: rule = "...", by = "kernel"
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field

from pointsman.errors import Exit, PointsmanError
from pointsman.policy import question
from pointsman.policy.load_lines import Lines
from pointsman.policy.load_values import listed, quote
from pointsman.policy.question import Question

CASE_KEYS = (
    "app", "to", "host", "protocol", "method", "path", "parent", "user", "service", "at", "new", "expect", "rule", "by",
)  # fmt: skip
_NEEDED = ("app", "to", "expect")
_BY = ("kernel", "proxy")


@dataclass(frozen=True, slots=True)
class Case:
    line: int
    question: Question
    minute: int | None
    expect: str
    rule: str | None
    by: str | None


def parse_cases(data: bytes, source: str) -> list[Case]:
    """Raises PointsmanError PM302 that lists every error."""
    parser = _Parser(source)
    cases = parser.parse(data)
    if parser.errors:
        raise PointsmanError(
            f"cannot use the cases {source}: {len(parser.errors)} error{'s' if len(parser.errors) > 1 else ''}",
            code="PM302",
            seen="\n".join(parser.errors),
            effect="no case was tried",
            do="mend the lines above and try again",
            status=Exit.POLICY,
        )
    return cases


@dataclass(slots=True)
class _Parser:
    source: str
    errors: list[str] = field(default_factory=list)

    def parse(self, data: bytes) -> list[Case]:
        try:
            text = data.decode("utf-8-sig")
            table = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # plain ValueError: a number of more than 4300 digits
            self.errors.append(f"{self.source}:1: not TOML: {error}")
            return []
        # To `Lines` a case is a rule: a table that repeats.
        lines = Lines(text.replace("[[case]]", "[[rule]]"))
        cases = table.get("case", [])
        if set(table) - {"case"} or not isinstance(cases, list) or not all(isinstance(one, dict) for one in cases):
            self.errors.append(f"{self.source}:1: found {quote(sorted(table))}; allowed: tables [[case]]")
            return []
        if not cases:
            self.errors.append(f"{self.source}:1: no [[case]]: nothing would be tested")
        parsed = [self._case(one, index, lines) for index, one in enumerate(cases)]
        return [one for one in parsed if one is not None]

    def _case(self, table: dict[str, object], index: int, lines: Lines) -> Case | None:
        before = len(self.errors)

        def error(key: str, text: str) -> None:
            self.errors.append(f"{self.source}:{lines.key(index, key)}: {key}: {text}")

        def text_of(key: str, check: Callable[[str], object] = str) -> str | None:
            value = table.get(key)
            if value is None:
                return None
            try:
                if not isinstance(value, str):
                    raise ValueError("a string")
                check(value)
            except ValueError as wrong:
                error(key, f"found {quote(value)}; allowed: {wrong}")
                return None
            return value

        def texts_of(key: str) -> tuple[str, ...]:
            value = table.get(key, [])
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str) for one in values):
                error(key, f"found {quote(value)}; allowed: a string or a list of strings")
                return ()
            return tuple(str(one) for one in values)

        for key in table:
            if key not in CASE_KEYS:
                error(key, f"unknown key; allowed: {', '.join(CASE_KEYS)}")
        for key in _NEEDED:
            if key not in table:
                error(key, "missing")
        if not isinstance(table.get("new", False), bool):
            error("new", f"found {quote(table['new'])}; allowed: true, false")
        to, at = text_of("to", question.destination), text_of("at", question.moment)
        expect = text_of("expect", question.action)
        made = {key: text_of(key) for key in ("app", "host", "method", "path", "rule")}
        protocol, by = text_of("protocol", _one_of(question.PROTOCOLS)), text_of("by", _one_of(_BY))
        parents, users, services = texts_of("parent"), texts_of("user"), texts_of("service")
        app = made["app"]
        if len(self.errors) > before or to is None or expect is None or app is None:
            return None
        address, port = question.destination(to)
        asked = Question(
            app=app, address=address, port=port, protocol=protocol or "", host=made["host"], method=made["method"],
            path=made["path"], parents=parents, users=users, services=services, is_new=bool(table.get("new", False)),
        )  # fmt: skip
        minute = question.moment(at) if at is not None else None
        return Case(lines.rule(index), asked, minute, expect, made["rule"], by)


def _one_of(choices: tuple[str, ...]) -> Callable[[str], object]:
    def check(value: str) -> None:
        if value not in choices:
            raise ValueError(listed(choices))

    return check
