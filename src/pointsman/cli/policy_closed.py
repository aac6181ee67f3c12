"""`pointsman policy closed`: filters that block what a rule covers while no proxy runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pointsman.cli import options
from pointsman.cli.run import choose_system
from pointsman.control import policy_closed
from pointsman.control.policy_file import load_policy
from pointsman.wire.filters import InstalledFilter


@click.group(short_help="block what closed rules cover while no proxy runs")
def closed() -> None:
    """Filters for rules with on_failure = "closed".

    They block without a proxy and without the driver, outlive a restart, and stay until they are removed.
    """


@closed.command()
@click.argument("file", type=options.PATH)
def install(file: Path) -> None:
    """Install them for the closed rules of FILE, in place of those that were installed before.

    Do it again after the file has changed: nothing else does.

    Exit status: 0; 3 the policy cannot be used, or has no rule that can be closed; 7 the filter engine refused.
    """
    system = choose_system()
    found = policy_closed.install(system, load_policy(file), os.path.realpath(sys.executable))
    click.echo(_rows(found))
    click.echo(f"{len(found)} filters installed; they stay until `pointsman policy closed remove`")


@closed.command()
def remove() -> None:
    """Remove all of them: without a proxy, connections go direct again.

    Exit status: 0, also if there were none; 7 the filter engine refused.
    """
    click.echo(f"{policy_closed.remove(choose_system())} filters removed")


@closed.command("list")
def list_installed() -> None:
    """Say which are installed, as the filter engine tells it.

    Exit status: 0; 7 the filter engine refused.
    """
    found = policy_closed.installed(choose_system())
    click.echo(_rows(found) or "none is installed")


def _rows(found: list[InstalledFilter]) -> str:
    return "\n".join(f"{'BLOCK' if one.blocks else 'PERMIT':<7} {one.layer.name}  {one.name}" for one in found)
