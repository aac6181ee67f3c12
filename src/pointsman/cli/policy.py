"""`pointsman policy`: look at a policy without running it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from pointsman.cli import options
from pointsman.cli.policy_closed import closed
from pointsman.control.policy_file import default_policy_text, load_policy, load_policy_or_default, read_cases
from pointsman.errors import Exit
from pointsman.policy.cases import Case, parse_cases
from pointsman.policy.compile import compile_policy
from pointsman.policy.describe import describe_filters, describe_native
from pointsman.policy.explain import explain
from pointsman.policy.lint import lint
from pointsman.policy.persistent import persistent_filters
from pointsman.policy.question import ask
from pointsman.policy.rules import DAY, Policy, active_at
from pointsman.policy.schema import policy_schema
from pointsman.policy.sight import Sight

_file = click.argument("file", type=options.PATH, required=False)


@click.group(short_help="check, explain and test a policy")
def policy() -> None:
    """Look at a policy without running it.  Where FILE is not given it is the built-in policy."""


policy.add_command(closed)


@policy.command()
@_file
@click.option("--strict", is_flag=True, help="findings, too, end with status 1")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def check(file: Path | None, *, strict: bool, as_json: bool) -> None:
    """Say what is wrong with a policy, and what in it cannot be meant.

    Exit status: 0 it can be used; 1 with --strict, there are findings; 3 it cannot be used.
    """
    loaded = load_policy_or_default(file)
    findings = lint(loaded)
    if as_json:
        rows = [{"code": one.code, "line": one.line, "text": one.text} for one in findings]
        click.echo(json.dumps({"file": loaded.source, "rules": len(loaded.rules), "findings": rows}))
    else:
        for one in findings:
            click.echo(f"{loaded.source}:{one.line}: {one.text}  [{one.code}]")
        click.echo(f"{loaded.source}: {_count(len(loaded.rules), 'rule')}, {_count(len(findings), 'finding')}")
    sys.exit(Exit.FAILED if strict and findings else Exit.OK)


@policy.command()
@_file
@click.option(
    "--running", multiple=True, metavar="PATH", help="a program that runs: names and globs are resolved for it"
)
def filters(file: Path | None, running: tuple[str, ...]) -> None:
    """Print the WFP filters that a policy becomes at this moment, in the order in which the kernel looks at them.

    Exit status: 0; 3 the policy cannot be used.
    """
    whole = load_policy_or_default(file)
    loaded = active_at(whole, minute_of_week())
    sight = Sight(app_bytes, frozenset(running), _any_sid if sys.platform == "win32" else None)
    compiled = compile_policy(loaded, 1, sight)
    lines = {rule.id: rule.line for rule in loaded.rules}
    click.echo(describe_filters(compiled, app_text, lambda rule_id: lines.get(rule_id, 0)))
    persistent = persistent_filters(whole, replace(sight, running=frozenset()))
    if persistent:
        click.echo(describe_native(persistent, app_text))


@policy.command("test")
@click.argument("file", type=options.PATH)
@click.argument("cases", type=options.PATH)
@click.option("--json", "as_json", is_flag=True, help="one JSON object a case")
def test_cases(file: Path, cases: Path, *, as_json: bool) -> None:
    """Hold a policy against a table of expected outcomes (TOML, [[case]]; see docs/reference/policy.md).

    Exit status: 0 all hold; 1 one does not; 3 the policy or the table cannot be used.
    """
    loaded = load_policy(file)
    listed = parse_cases(read_cases(cases), str(cases))
    failed = sum(not _try(loaded, one, cases, as_json=as_json) for one in listed)
    if not as_json:
        click.echo(f"{_count(len(listed), 'case')}, {failed} failed")
    sys.exit(Exit.FAILED if failed else Exit.OK)


@policy.command()
def schema() -> None:
    """Print the JSON schema of a policy, for editors.

    Exit status: 0.
    """
    click.echo(json.dumps(policy_schema(), indent=2))


@policy.command("default")
def print_default() -> None:
    """Print the built-in policy, to start from.

    Exit status: 0.
    """
    click.echo(default_policy_text(), nl=False)


def _try(loaded: Policy, case: Case, file: Path, *, as_json: bool) -> bool:
    minute = case.minute if case.minute is not None else minute_of_week()
    asked = ask(loaded, case.question, minute=minute, app_id=app_bytes, sees_tokens=sys.platform == "win32")
    found = explain(asked)
    wrong = [
        f"{key}: expected {expected}, got {got}"
        for key, expected, got in (
            ("expect", case.expect, found.action),
            ("rule", case.rule, found.rule),
            ("by", case.by, found.decided_by),
        )
        if expected is not None and expected != got
    ]
    if as_json:
        row = {"line": case.line, "ok": not wrong, "action": found.action, "rule": found.rule, "by": found.decided_by}
        click.echo(json.dumps(row))
    elif wrong:
        at = f"{found.source}:{found.line}" if found.line else found.source
        click.echo(f"{file}:{case.line}: {'; '.join(wrong)} ({found.rule}, {at})")
    return not wrong


def minute_of_week() -> int:
    """Of now, in local time."""
    now = datetime.now()
    return now.weekday() * DAY + now.hour * 60 + now.minute


def app_bytes(path: str) -> bytes:
    """A stand-in for an app id that can be read back: nothing here reaches a kernel."""
    return (path + "\0").encode("utf-16-le", "surrogatepass")


def app_text(data: bytes) -> str:
    return data.decode("utf-16-le", "surrogatepass").rstrip("\0")


def _any_sid(_: str) -> str:
    return "S-1-1-0"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
