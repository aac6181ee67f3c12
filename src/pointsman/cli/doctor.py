"""`pointsman doctor`: is interception happening, and if not, why."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pointsman.authority.places import default_ca_dir
from pointsman.cli import options, output
from pointsman.cli.run import choose_host, choose_system
from pointsman.doctor.checks import CANARIES, CHECKS, PROGRAMS
from pointsman.doctor.examination import NO_WINDOWS, Result, examine
from pointsman.doctor.finding import Outcome
from pointsman.doctor.report import write_report
from pointsman.doctor.scene import Scene
from pointsman.errors import Exit
from pointsman.system.interface import Driver


@click.command(short_help="is interception happening, and if not, why")
@click.option("--report", type=options.PATH, metavar="FILE", help="write a file for a bug report, without secrets")
@click.option("--canary/--no-canary", default=True, help="send connections through and see; default: yes")
@click.option("--programs", is_flag=True, help="also start programs (curl, Python, ...) and see which trust our root")
@click.option("--ca", "ca_dir", type=options.PATH, metavar="DIR", help="where our certificate authority is kept")
@output.as_json
def doctor(report: Path | None, canary: bool, programs: bool, ca_dir: Path | None, as_json: bool) -> None:
    """Look at the machine, the driver, the filter engine, the proxy and the trust, then send canaries through.

    Each finding is ok, warn, fail or skipped (with the reason); those that need mending say what it means for traffic
    and what to do. A canary is a connection of a process of its own to an address that nobody has.

    Exit status: 0 nothing failed (there may be warnings); 1 a check failed.
    """
    scene = Scene(choose_host() if sys.platform == "win32" else None, _open_driver, ca_dir or default_ca_dir())
    checks = [check for check in CHECKS if canary or check not in CANARIES]
    results = examine([*checks, PROGRAMS] if programs else checks, scene)
    if as_json:
        click.echo(json.dumps({"checks": [result.as_json() for result in results]}))
    else:
        for result in results:
            if result.finding.seen != NO_WINDOWS:
                click.echo("\n".join(result.lines()))
        without = [result.check.id for result in results if result.finding.seen == NO_WINDOWS]
        if without:
            click.echo(f"skipped {' '.join(without)}: {NO_WINDOWS}")
        click.echo(summary(results))
    if report is not None:
        write_report(report, results, scene)
        click.echo(f"pointsman: report written to {report}", err=True)
    sys.exit(Exit.FAILED if any(result.finding.outcome is Outcome.FAIL for result in results) else Exit.OK)


def summary(results: list[Result]) -> str:
    counts = {outcome: sum(result.finding.outcome is outcome for result in results) for outcome in Outcome}
    counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return f"\n{counted}\n{conclusion(results)}"


def conclusion(results: list[Result]) -> str:
    """What it comes to, for traffic.  Causes stand before their effects, so the first failure is where to begin."""
    failed = next((result for result in results if result.finding.outcome is Outcome.FAIL), None)
    if failed is not None:
        return f"begin with {failed.check.id} ({failed.check.title}): {failed.finding.effect}"
    flown = [one for one in results if one.check in CANARIES[:2]]
    if any(one.finding.outcome is Outcome.WARN for one in flown):
        return "a canary was not intercepted: nothing is broken, but not everything goes through the proxy"
    if any(one.finding.outcome is Outcome.OK for one in flown):
        return "interception works: connections of another process were seen and handled as the policy says"
    return "nothing failed, but no canary was sent: whether connections are intercepted was not tried"


def _open_driver() -> Driver:
    return choose_system().open_driver()
