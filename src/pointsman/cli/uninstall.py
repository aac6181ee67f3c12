"""`pointsman uninstall`: nothing of ours is left, and here is the proof."""

from __future__ import annotations

import json
import sys

import click

from pointsman.cli import output
from pointsman.cli.run import choose_host, choose_system, default_ca_dir
from pointsman.errors import Exit
from pointsman.operate.removal import Removal, Remover
from pointsman.system.interface import Driver


def remove_trust() -> list[str]:
    """Our roots out of the stores of this machine; a line for each.

    The stores are the trust commands' business; the files of the certificate authority go with their folder.
    """
    return []


@click.command(short_help="remove driver, service, certificate authority and files")
@click.option("--keep-ca", is_flag=True, help="leave the certificate authority, the data and the trust in it")
@output.yes
@output.as_json
def uninstall(keep_ca: bool, yes: bool, as_json: bool) -> None:
    """Take Pointsman off this machine: service, driver, filters, certificate authority, files.

    It may be repeated, works when half of it is gone already, and needs no driver that runs. Connections go direct from
    its first step on. The Python package goes with pip, since it cannot remove itself.

    Exit status: 0 nothing is left; 1 something is, and it is named; 10 not an administrator; 11 restart Windows.
    """
    host = choose_host()
    remover = Remover(host, _open_driver, (default_ca_dir(), host.program_data / "Pointsman" / "ca"), remove_trust)
    if not yes:
        for trace in remover.traces(keep_ca=keep_ca):
            click.echo(trace.line(), err=as_json)
        click.confirm("Remove all of this?", abort=True, err=as_json)
    removal = remover.remove(keep_ca=keep_ca)
    _print(removal, as_json=as_json)
    if removal.report.restart_needed:
        sys.exit(Exit.RESTART_NEEDED)
    sys.exit(Exit.OK if removal.complete and not removal.problems else Exit.FAILED)


def _print(removal: Removal, *, as_json: bool) -> None:
    if as_json:
        traces = {
            when: {trace.name: trace.there for trace in found}
            for when, found in (("before", removal.before), ("after", removal.after))
        }
        problems = [{"code": error.code, "what": error.what, "do": error.do} for error in removal.problems]
        click.echo(json.dumps({**removal.report.as_json(), **traces, "problems": problems}))
        return
    for line in removal.report.lines():
        click.echo(line)
    click.echo("\nbefore" + " " * 24 + "after")
    for before, after in zip(removal.before, removal.after, strict=True):
        click.echo(f"{before.line()[:8]}->  {after.line()}")
    for error in removal.problems:
        click.echo(str(error), err=True)


def _open_driver() -> Driver:
    return choose_system().open_driver()
