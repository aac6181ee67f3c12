"""`pointsman demo`: the main job, end to end, on real programs."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import click

from pointsman.errors import Exit, PointsmanError

if TYPE_CHECKING:
    from pointsman.demo.steps import Outcome

WIDTH = 66  # of the titles in the table


@click.command(short_help="see the whole path at work, in twenty seconds")
def demo() -> None:
    """Start a driver, a proxy and an origin, let real programs connect, and show what became of each connection.

    Needs neither root nor the internet. Exit status: 0 if every step did what it says, else 1.
    """
    if sys.platform != "linux":
        raise PointsmanError(
            "the demo runs in the lab, on Linux only",
            code="PM702",
            seen=sys.platform,
            effect="nothing was started",
            do="run it on Linux (also in a container or in WSL 2)",
            status=Exit.NO_USER_NOTIFICATION,
        )
    sys.exit(asyncio.run(run_demo()))


async def run_demo() -> int:
    from pointsman.demo.stage import on_stage
    from pointsman.demo.steps import STEPS, Cast

    started = time.monotonic()
    outcomes = []
    async with on_stage() as stage:
        click.echo("A kernel with the driver on simulated WFP, an origin on loopback, and now the proxy.\n")
        cast = Cast(await stage.start_proxy())
        for number, step in enumerate(STEPS, 1):
            outcome = await step(stage, cast)
            outcomes.append(outcome)
            show(number, outcome)
        await cast.proxy.stop()
    return summary(outcomes, time.monotonic() - started)


def show(number: int, outcome: Outcome) -> None:
    click.echo(f"{number}  {outcome.title}")
    for name in ("asked", "driver", "proxy", "seen"):
        click.echo(f"     {name:<7} {getattr(outcome, name)}")
    click.echo(f"     {'ok' if outcome.ok else 'NOT AS IT SHOULD BE'}\n")


def summary(outcomes: list[Outcome], seconds: float) -> int:
    click.echo(f"{'step':<{WIDTH + 3}} seen")
    for number, outcome in enumerate(outcomes, 1):
        click.echo(f"{number}  {outcome.title:<{WIDTH}} {'ok  ' if outcome.ok else 'FAIL'} {outcome.seen}")
    good = sum(outcome.ok for outcome in outcomes)
    click.echo(f"\n{good} of {len(outcomes)} steps as promised, in {seconds:.1f} s")
    return Exit.OK if good == len(outcomes) else Exit.FAILED
