"""`pointsman pause` and `pointsman resume`: everything direct for a time, and back."""

from __future__ import annotations

import re
from typing import Any

import click

from pointsman.cli import options
from pointsman.cli.run import choose_system
from pointsman.cli.status import duration
from pointsman.control.commands import CommandError, Result, ask
from pointsman.control.operations import PAUSE_DEFAULT
from pointsman.control.overview import active_pid
from pointsman.errors import Exit, PointsmanError

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?")
_UNITS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600}


@click.command(short_help="let everything go direct for a time")
@click.argument("time", required=False)
@options.source
def pause(time: str | None, source: str) -> None:
    """Let all new connections go direct for TIME (30, 90s, 10m, 2h; default 5m, at most 24h), then intercept again.

    Open connections go on as they are. A proxy that ends meanwhile takes the pause with it; one that is replaced by
    `run --takeover` hands it on.

    Exit status: 0; 1 refused; 2 a time that makes no sense; 10 no proxy answers.
    """
    seconds = PAUSE_DEFAULT if time is None else parse_time(time)
    told = tell("pause", {"seconds": seconds}, source, effect="connections are handled as before")
    click.echo(f"paused: connections go direct for {duration(told['paused_seconds'])}; `pointsman resume` ends it")


@click.command(short_help="end a pause")
@options.source
def resume(source: str) -> None:
    """Let the policy act again at once.

    Exit status: 0, also if nothing was paused; 1 refused; 10 no proxy answers.
    """
    told = tell("resume", {}, source, effect="connections are handled as before")
    click.echo("resumed: the policy acts again" if told["was_paused"] else "nothing was paused")


def parse_time(text: str) -> float:
    """Seconds."""
    match = _TIME.fullmatch(text.strip().lower())
    if match is None:
        raise click.UsageError(f"{text!r} is no time; write 30, 90s, 10m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def tell(command: str, arguments: dict[str, Any], source: str, *, effect: str) -> Result:
    """Tell the active proxy something.  Raises PointsmanError PM462, nobody answers; PM463, it refused."""
    system = choose_system(source)
    pid = active_pid(system, has_driver=source == "driver")
    try:
        if pid is not None:
            return ask(system, pid, command, arguments)
        seen = "no proxy is active"
    except CommandError as error:
        raise PointsmanError(
            f"the proxy refused to {command}",
            code="PM463",
            seen=f"process {pid}: {error}",
            effect=effect,
            do="see `pointsman status`",
        ) from error
    except OSError as error:
        seen = f"process {pid}: {error}"
    raise PointsmanError(
        f"cannot {command}: no proxy answers",
        code="PM462",
        seen=seen,
        effect=effect,
        do="see `pointsman status`; `pointsman run` starts a proxy",
        status=Exit.NO_PROXY,
    )
