"""`pointsman run`: the proxy in the foreground."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

import click

from pointsman.cli import options
from pointsman.control.policy_file import default_policy, load_policy
from pointsman.control.proxy import Ready, run_proxy
from pointsman.control.settings import Settings
from pointsman.errors import Exit, PointsmanError
from pointsman.system.interface import System


@click.command(short_help="run the proxy in the foreground")
@options.policy
@options.upstream_ca
@options.flows
@options.addons
@options.addon_settings
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="on 127.0.0.1 and ::1; default: the system chooses"
)
@click.option("--ca", "ca_dir", type=options.PATH, metavar="DIR", help="where our certificate authority is kept")
@click.option(
    "--source",
    type=click.Choice(["driver", "netfilter"]),
    default="driver",
    help="who redirects to us: the driver, or nft rules on a Linux gateway (listens on every address)",
)
@click.option("--fast/--no-fast", default=True, help="use uvloop if it is installed; default: yes")
@click.option("--quiet", is_flag=True, help="no flow records on standard output")
@click.option("--json", "as_json", is_flag=True, help="on standard output: one JSON object a line, readiness first")
def run(
    policy: Path | None,
    upstream_ca: tuple[Path, ...],
    flows: Path | None,
    addons: tuple[str, ...],
    addon_settings: tuple[str, ...],
    port: int,
    ca_dir: Path | None,
    source: str,
    fast: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Register with the driver and handle what it redirects, until SIGINT or SIGTERM.

    Exit status: 0 after an orderly end; 3 policy, 4 port taken, 6 driver of another version, 7 no driver, 8 addon.
    """
    settings = Settings(
        policy=load_policy(policy) if policy else default_policy(intercepts=bool(addons)),
        policy_file=policy,
        ca_dir=ca_dir or default_ca_dir(),
        port=port,
        upstream_ca=upstream_ca,
        flow_file=flows,
        print_flows=not (as_json or quiet),
        json_flows=as_json and not quiet,
        addons=addons,
        addon_settings=addon_settings,
        any_address=source == "netfilter",
    )
    out = sys.stdout
    proxy = run_proxy(settings, choose_system(source), lambda ready: announce(ready, as_json=as_json, out=out), out=out)
    # What an addon prints must not get between JSON lines.
    prints = redirect_stdout(sys.stderr) if addons and as_json else nullcontext()
    if addons:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with prints, asyncio.Runner(loop_factory=loop_factory(fast=fast)) as runner:
        runner.run(proxy)


def announce(ready: Ready, *, as_json: bool, out: TextIO) -> None:
    endpoints = [f"{address}:{port}" for address, port in filter(None, (ready.endpoints.v4, ready.endpoints.v6))]
    if as_json:
        text = json.dumps({"ready": endpoints, "registration": ready.registration, "root": str(ready.root_pem)})
    else:
        text = f"pointsman: ready on {' and '.join(endpoints)}, registration {ready.registration}, CA {ready.root_pem}"
    print(text, flush=True, file=out)


def loop_factory(*, fast: bool) -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop if it may be used and is there (the extra `fast`), else what asyncio has."""
    if fast:
        with suppress(ImportError):
            import uvloop

            factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
            return factory
    return asyncio.new_event_loop


def choose_system(source: str = "driver") -> System:
    """The one place that knows which operating system this is."""
    if source == "netfilter" and sys.platform == "linux":
        from pointsman.system.netfilter import NetfilterSystem

        return NetfilterSystem()
    if sys.platform == "linux" and os.environ.get("POINTSMAN_LAB"):
        from pointsman.lab.system import LabSystem

        return LabSystem()
    if sys.platform == "win32":
        from pointsman.system.windows.system import WindowsSystem

        return WindowsSystem()
    raise PointsmanError(
        "there is no driver to register with",
        code="PM701",
        seen=f"{sys.platform}, outside a lab",
        effect="nothing is intercepted; connections go direct (fail open)",
        do="`pointsman lab -- COMMAND` starts a driver, a proxy and a program on Linux",
        status=Exit.DRIVER_MISSING,
    )


def default_ca_dir() -> Path:
    """Per user, where the system keeps data of programs (XDG Base Directory Specification; %LOCALAPPDATA%)."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "Pointsman" / "ca"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "pointsman" / "ca"
