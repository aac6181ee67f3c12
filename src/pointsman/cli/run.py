"""`pointsman run`: the proxy in the foreground."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import click

from pointsman.cli import options
from pointsman.control.drain import DRAIN_DEFAULT, DRAIN_LONGEST
from pointsman.control.policy_file import default_policy, load_policy
from pointsman.control.proxy import Ready, run_proxy
from pointsman.control.settings import Settings
from pointsman.control.workers import Terms, Workers
from pointsman.errors import Exit, PointsmanError
from pointsman.server.limits import Limits
from pointsman.server.listener import Listeners
from pointsman.system.host import Host
from pointsman.system.interface import Processes, System
from pointsman.system.open_files import raise_open_files

MAX_WORKERS = {"driver": 2, "netfilter": 64}
OTHER_FILES = 512  # logs, addons' files, control channels, dials through proxies
LIMIT_NAMES = {
    "connections": "max_connections",
    "connections-per-app": "max_connections_per_app",
    "idle": "idle_timeout",
    "life": "life_timeout",
    "dial": "dial_timeout",
    "drain": "drain_timeout",
    "bytes": "max_bytes",
}


@click.command(short_help="run the proxy in the foreground")
@options.policy
@options.upstream_ca
@options.flows
@options.key_log
@options.addons
@options.addon_settings
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="on 127.0.0.1 and ::1; default: the system chooses"
)
@options.ca_dir
@options.source
@click.option("--takeover", is_flag=True, help="replace the instance that runs: prove ourselves first, then relieve it")
@click.option(
    "--drain",
    type=click.FloatRange(0, DRAIN_LONGEST),
    default=DRAIN_DEFAULT,
    metavar="SECONDS",
    help="with --takeover: how long the relieved instance serves its open connections; default: an hour",
)
@click.option(
    "--workers",
    type=click.IntRange(1, MAX_WORKERS["netfilter"]),
    default=1,
    metavar="N",
    help=f"processes that share the endpoint; with the driver at most {MAX_WORKERS['driver']}",
)
@click.option(
    "--limit",
    "limit",
    multiple=True,
    metavar="NAME=NUMBER",
    help=f"may be repeated; names: {', '.join(LIMIT_NAMES)} (the timeouts in seconds)",
)
@options.state
@click.option("--fast/--no-fast", default=True, help="use uvloop if it is installed; default: yes")
@click.option("--quiet", is_flag=True, help="no flow records on standard output")
@click.option("--json", "as_json", is_flag=True, help="on standard output: one JSON object a line, readiness first")
def run(
    policy: Path | None,
    upstream_ca: tuple[Path, ...],
    flows: Path | None,
    key_log: Path | None,
    addons: tuple[str, ...],
    addon_settings: tuple[str, ...],
    port: int,
    ca_dir: Path,
    source: str,
    workers: int,
    limit: tuple[str, ...],
    takeover: bool,
    drain: float,
    state: Path | None,
    fast: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Register with the driver and handle what it redirects, until SIGINT or SIGTERM, or until it is relieved.

    Exit status: 0 after an orderly end; 3 policy, 4 port taken, 6 driver of another version, 7 no driver, 8 an
    addon, 9 the canary of --takeover did not come through (the instance that was there serves on).
    """
    if workers > MAX_WORKERS[source]:
        raise click.BadParameter(
            f"the driver knows four registrations, and a hand-over needs some: at most {MAX_WORKERS[source]}",
            param_hint="--workers",
        )
    if takeover and source != "driver":
        raise click.UsageError("--takeover needs the driver: without it nobody leads new connections to the newer one")
    if takeover and workers > 1:
        raise click.UsageError("--takeover with --workers: the canary of an update cannot tell yet which worker it met")
    settings = Settings(
        policy=load_policy(policy) if policy else default_policy(intercepts=bool(addons)),
        policy_file=policy,
        ca_dir=ca_dir,
        port=port,
        upstream_ca=upstream_ca,
        flow_file=flows,
        key_log=key_log,
        print_flows=not (as_json or quiet),
        json_flows=as_json and not quiet,
        addons=addons,
        addon_settings=addon_settings,
        any_address=source == "netfilter",
        limits=limits_of(limit),
        workers=workers,
        takeover=takeover,
        drain=drain,
        state_dir=state,
    )
    raise_open_files(2 * settings.limits.max_connections + OTHER_FILES)
    factory = loop_factory(fast=fast)
    out = sys.stdout
    system, on_ready = choose_system(source), partial(announce, as_json=as_json, out=out)
    on_step = partial(announce_step, as_json=as_json, out=out)
    hired: list[Workers] = []

    def hire(listeners: Listeners, joined: Callable[[], None]) -> Workers:
        terms = Terms(settings, partial(choose_system, source), factory)
        hired.append(Workers(terms, listeners, joined, out))
        return hired[0]

    # What an addon prints must not get between JSON lines.
    prints = redirect_stdout(sys.stderr) if addons and as_json else nullcontext()
    if addons:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    proxy = run_proxy(settings, system, on_ready, out=out, on_step=on_step, hire=hire if workers > 1 else None)
    with closing(system), prints, asyncio.Runner(loop_factory=factory) as runner:
        runner.run(proxy)
    for one in hired:
        one.check()


def limits_of(options: tuple[str, ...]) -> Limits:
    """Raises click.BadParameter."""
    found: dict[str, Any] = {}
    for option in options:
        name, _, text = option.partition("=")
        field = LIMIT_NAMES.get(name)
        try:
            number = float(text) if field is not None and field.endswith("timeout") else int(text)
        except ValueError:
            number = 0
        if field is None or not number > 0:
            allowed = f"NAME=NUMBER, more than 0; names: {', '.join(LIMIT_NAMES)}"
            raise click.BadParameter(f"found {option!r}; allowed: {allowed}", param_hint="--limit")
        found[field] = number
    return Limits(**found)


def announce(ready: Ready, *, as_json: bool, out: TextIO) -> None:
    endpoints = [f"{address}:{port}" for address, port in filter(None, (ready.endpoints.v4, ready.endpoints.v6))]
    if as_json:
        text = json.dumps({"ready": endpoints, "registration": ready.registration, "root": str(ready.root_pem)})
    else:
        text = f"pointsman: ready on {' and '.join(endpoints)}, registration {ready.registration}, CA {ready.root_pem}"
    print(text, flush=True, file=out)


def announce_step(name: str, facts: dict[str, Any], *, as_json: bool, out: TextIO) -> None:
    if as_json:
        text = json.dumps({"step": name, **facts})
    else:
        details = ", ".join(f"{key} {value}" for key, value in facts.items())
        text = f"pointsman: {name}{f' ({details})' if details else ''}"
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


def choose_host() -> Host:
    """The machine that operations change.  Raises PointsmanError (PM213) where there is none to operate."""
    if sys.platform == "win32":
        from pointsman.system.windows.host import WindowsHost

        return WindowsHost()
    raise PointsmanError(
        "this command manages a Windows machine",
        code="PM213",
        seen=f"{sys.platform}, which has no service manager and no driver of ours",
        effect="nothing was changed",
        do="run it on Windows; `pointsman lab -- COMMAND` shows the driver at work on Linux",
        status=Exit.DRIVER_MISSING,
    )


def choose_processes() -> Processes:
    """What runs on this machine, with or without a driver."""
    if sys.platform == "win32":
        from pointsman.system.windows.processes import WindowsProcesses

        return WindowsProcesses()
    from pointsman.lab.process_facts import LabProcesses

    return LabProcesses()
