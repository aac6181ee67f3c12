"""`pointsman uninstall`: nothing of ours is left, and here is the proof."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pointsman.authority.places import default_ca_dir
from pointsman.cli import output
from pointsman.cli.run import choose_host, choose_system
from pointsman.control import policy_closed
from pointsman.errors import Exit
from pointsman.operate.removal import Part, Removal, Remover
from pointsman.system.interface import Driver
from pointsman.system.trust_store import trust_store
from pointsman.trust.install import is_installed, remove_roots


def parts(ca_dirs: tuple[Path, ...]) -> tuple[Part, ...]:
    """What is neither service nor driver nor file.  Filters that close first: they block when no proxy runs."""
    return (
        Part("filters that close on failure", False, _closed_are_there, _remove_closed),
        Part("roots in the system's store", True, lambda: _trusted(ca_dirs), lambda: _remove_trust(ca_dirs)),
    )


def _closed_are_there() -> bool:
    return bool(policy_closed.installed(choose_system()))


def _remove_closed() -> list[str]:
    count = policy_closed.remove(choose_system())
    return [f"{count} filters"] if count else []


def _trusted(ca_dirs: tuple[Path, ...]) -> bool:
    store = trust_store()
    return store is not None and any(is_installed(ca_dir, store) for ca_dir in ca_dirs)


def _remove_trust(ca_dirs: tuple[Path, ...]) -> list[str]:
    store = trust_store()
    if store is None:
        return []
    return [root.subject for ca_dir in ca_dirs for root, was_there in remove_roots(ca_dir, store) if was_there]


@click.command(short_help="remove driver, service, certificate authority and files")
@click.option("--keep-ca", is_flag=True, help="leave the certificate authority, the data and the trust in it")
@output.yes
@output.as_json
def uninstall(keep_ca: bool, yes: bool, as_json: bool) -> None:
    """Take Pointsman off this machine: service, driver, filters, certificate authority, files.

    It may be repeated, works when half of it is gone already, and needs no driver that runs. Connections go direct from
    its first step on. The Python package goes with pip, since it cannot remove itself.

    Exit status: 0 nothing is left; 1 something is, and it is named; 11 not an administrator; 12 restart Windows.
    """
    host = choose_host()
    ca_dirs = (default_ca_dir(), host.program_data / "Pointsman" / "ca")
    remover = Remover(host, _open_driver, ca_dirs, parts(ca_dirs))
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
