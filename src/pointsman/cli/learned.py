"""`pointsman learned`: which apps refused our certificate, and how to make them be asked again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from pointsman.authority.places import default_ca_dir
from pointsman.cli import options
from pointsman.cli.run import choose_system
from pointsman.cli.status import duration
from pointsman.control.commands import CommandError, Result, ask
from pointsman.control.learned_file import NAME, LearnedFile
from pointsman.control.overview import active_pid
from pointsman.engine.learned import Entry
from pointsman.errors import PointsmanError

_ca = click.option("--ca", "ca_dir", type=options.PATH, metavar="DIR", help="where the file is when no proxy runs")


@click.group(short_help="apps that refused our certificate")
def learned() -> None:
    """Apps that refused our certificate for a host: their connections to it are relayed, not inspected, for a day.

    The running proxy is asked; if none runs, its file.
    """


@learned.command("list")
@_ca
@options.source
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
def list_entries(ca_dir: Path | None, source: str, *, as_json: bool) -> None:
    """List them.

    Exit status: 0.
    """
    told = _ask_proxy("learned", {}, source)
    entries = msgspec.convert(told["entries"], list[Entry]) if told is not None else _file(ca_dir).entries()
    now = time.time()
    for entry in entries:
        if as_json:
            click.echo(msgspec.json.encode(entry).decode())
        else:
            left = duration(entry.until - now) if entry.until > now else "over"
            click.echo(f"{entry.host}  {entry.app or '?'}  {entry.reason}  ({left})")


@learned.command("remove")
@click.argument("host", required=False)
@click.option("--app", metavar="PATH", help="only of this program")
@click.option("--all", "everything", is_flag=True, help="all of them")
@_ca
@options.source
def remove(host: str | None, app: str | None, ca_dir: Path | None, source: str, *, everything: bool) -> None:
    """Forget what was learned of HOST, of a program, or of both together: the next connection is inspected again.

    Exit status: 0, also if there was nothing to forget.
    """
    if not everything and host is None and app is None:
        raise click.UsageError("say what to forget: HOST, --app PATH, or --all")
    if everything and (host or app):
        raise click.UsageError("--all stands alone")
    told = _ask_proxy("forget", {"host": host, "app": app}, source)
    removed = told["removed"] if told is not None else _file(ca_dir).remove(app, host)
    click.echo(f"{removed} forgotten")


def _file(ca_dir: Path | None) -> LearnedFile:
    return LearnedFile((ca_dir or default_ca_dir()) / NAME)


def _ask_proxy(command: str, arguments: dict[str, Any], source: str) -> Result | None:
    """None if no proxy runs."""
    try:
        system = choose_system(source)
        pid = active_pid(system, has_driver=source == "driver")
        return ask(system, pid, command, arguments) if pid is not None else None
    except (PointsmanError, OSError):
        return None
    except CommandError as error:
        raise PointsmanError(
            f"the proxy refused: {command}", code="PM463", seen=str(error), effect="nothing was changed",
            do="see `pointsman status`",
        ) from error  # fmt: skip
