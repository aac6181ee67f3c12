"""`pointsman lab`: any program, on a simulated Windows network stack, with the real driver code and the real proxy."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pointsman.cli import options
from pointsman.control.flow_log import FlowLog
from pointsman.control.policy_file import default_policy, load_policy
from pointsman.errors import Exit, PointsmanError
from pointsman.policy.rules import Policy

if TYPE_CHECKING:
    from pointsman.lab.session import LabProxy, SessionSettings


@click.command(
    short_help="run a program and see its connections",
    context_settings={"allow_interspersed_args": False},
)
@options.policy
@options.upstream_ca
@options.flows
@options.key_log
@options.addons
@options.addon_settings
@click.option(
    "--map", "maps", multiple=True, metavar="ADDR:PORT=ADDR:PORT", help="lead connections elsewhere (PORT may be *)"
)
@click.option("--resolve", "names", multiple=True, metavar="NAME=ADDR", help="what a name means in the lab")
@click.option(
    "--placement",
    type=click.Choice(["getfd", "addfd"]),
    help="how a program's socket is had; default: by what this machine allows (see --check)",
)
@click.option("--check", is_flag=True, help="say what this machine allows, and what each missing thing costs")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def lab(
    policy: Path | None,
    upstream_ca: tuple[Path, ...],
    flows: Path | None,
    key_log: Path | None,
    addons: tuple[str, ...],
    addon_settings: tuple[str, ...],
    maps: tuple[str, ...],
    names: tuple[str, ...],
    placement: Literal["getfd", "addfd"] | None,
    check: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND so that its connections go through WFP (simulated), the driver and the proxy.

    Needs neither root nor the internet. Flow lines go to standard error, or to --flows FILE as JSON lines.

    Exit status: that of COMMAND (128 + N if signal N ended it); 127 not found, 126 not executable, 3 policy, 5 this
    kernel cannot trap connect().
    """
    if sys.platform != "linux":
        raise PointsmanError(
            "the lab runs on Linux only",
            code="PM702",
            seen=sys.platform,
            effect="nothing was started",
            do="use the lab on Linux (also in a container or in WSL 2)",
            status=Exit.NO_USER_NOTIFICATION,
        )
    if check:
        sys.exit(print_check())
    if not command:
        raise click.UsageError("say which program to run: pointsman lab -- COMMAND")

    from pointsman.lab.network import Network
    from pointsman.lab.session import SessionSettings

    # Read here too, so that a bad file is reported before anything is started.
    rules = load_policy(policy) if policy else default_policy()
    network = Network.parse(maps=maps, names=names)
    settings = SessionSettings(
        network, policy, upstream_ca, placement, addons=addons, addon_settings=addon_settings, key_log=key_log
    )
    sys.exit(asyncio.run(run_lab(settings, rules, command, flows)))


async def run_lab(settings: SessionSettings, policy: Policy, command: tuple[str, ...], flows: Path | None) -> int:
    from pointsman.lab.flows import KernelFlow
    from pointsman.lab.session import Session, exit_status, record_of_kernel_flow

    log = FlowLog(flows, None if flows else sys.stderr)

    def on_flow(flow: KernelFlow) -> None:
        record = record_of_kernel_flow(flow, policy)
        if record is not None:
            log.write(record)

    async with Session(settings, on_record=log.write, on_flow=on_flow) as session:
        proxy = await session.start_proxy()
        program = await session.machine.spawn(command, env=session.environment)
        loop = asyncio.get_running_loop()
        # Ctrl-C is the program's business: the terminal has sent it there too, and we end when it ends.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, program.send_signal, signal.SIGTERM)
        watching = asyncio.create_task(warn_when_ended(proxy))
        status = await program.wait()
        watching.cancel()
        await proxy.stop()
    log.close()
    return exit_status(status)


async def warn_when_ended(proxy: LabProxy) -> None:
    """A proxy that ends before the command is worth a word: what follows goes direct."""
    from pointsman.lab.session import exit_status

    status = await proxy.ended()
    error = PointsmanError(
        "the lab's proxy ended before the command",
        code="PM510",
        seen=f"status {exit_status(status)}",
        effect="connections go direct from now on (fail open), and none is inspected",
        do="report it, with what stands above, if nobody ended it on purpose",
    )
    click.echo(str(error), err=True)


def print_check() -> int:
    """One line a mechanism, then the fixed limits.  Returns the exit status."""
    from pointsman.lab.check import examine

    findings = examine()
    for finding in findings:
        if not finding.limit:
            click.echo(f"{'yes' if finding.allowed else 'no':<4}{finding.name:<22}{finding.meaning}")
    click.echo("\nWhat the lab cannot see, or does otherwise than Windows:")
    for finding in findings:
        if finding.limit:
            click.echo(f"  - {finding.name}: {finding.meaning}")
    usable = all(finding.allowed for finding in findings if finding.name == "user notification")
    return Exit.OK if usable else Exit.NO_USER_NOTIFICATION
