"""What commands that change the machine print: lines for people, one object for programs."""

from __future__ import annotations

import json

import click

from pointsman.errors import Exit
from pointsman.operate.steps import Report

as_json = click.option("--json", "as_json", is_flag=True, help="one JSON object on standard output")
yes = click.option("--yes", is_flag=True, help="do not ask")


def print_report(command: str, report: Report, *, json_wanted: bool, more: dict[str, object] | None = None) -> int:
    """Returns the exit status."""
    if json_wanted:
        click.echo(json.dumps({"command": command, **report.as_json(), **(more or {})}))
    else:
        for line in report.lines():
            click.echo(line)
    return Exit.RESTART_NEEDED if report.restart_needed else Exit.OK
