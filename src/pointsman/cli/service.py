"""`pointsman service`: the proxy as a Windows service."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pointsman.cli import options, output
from pointsman.cli.run import choose_host
from pointsman.control.policy_file import load_policy
from pointsman.operate.proxy_service import SERVICE, ProxyService, ServiceSettings, log_path
from pointsman.system.services import ServiceState


@click.group(short_help="install, start, stop, remove the proxy's service")
def service() -> None:
    """The proxy in the background: started with Windows, restarted when it fails, stopped within five seconds.

    Exit status: 0; 1 it does not run (status), 3 policy, 7 the service manager refused, 11 not an administrator.
    """


@service.command()
@options.policy
@options.upstream_ca
@options.flows
@click.option("--ca", "ca_dir", type=options.PATH, metavar="DIR", help="where our certificate authority is kept")
@click.option("--force", is_flag=True, help="also from a folder that others than administrators can write")
@output.as_json
def install(
    policy: Path | None, upstream_ca: tuple[Path, ...], flows: Path | None, ca_dir: Path | None, force: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Create the service, or give an existing one other settings; they count from its next start.

    It runs as SYSTEM, so it refuses to be run from folders where others than administrators could put code.
    """
    host = choose_host()
    if policy is not None:
        load_policy(policy)  # better now than at the first start, when nobody looks
    settings = ServiceSettings(
        policy=_absolute(policy),
        ca_dir=_absolute(ca_dir) or str(host.program_data / "Pointsman" / "ca"),
        flows=_absolute(flows),
        upstream_ca=tuple(str(path.absolute()) for path in upstream_ca),
    )
    sys.exit(output.print_report("install", ProxyService(host).install(settings, force=force), json_wanted=as_json))


@service.command()
@output.as_json
def start(as_json: bool) -> None:
    """Start the driver, then the proxy."""
    sys.exit(output.print_report("start", ProxyService(choose_host()).start(), json_wanted=as_json))


@service.command()
@output.as_json
def stop(as_json: bool) -> None:
    """Stop the proxy: new connections go direct at once, open ones get three seconds."""
    sys.exit(output.print_report("stop", ProxyService(choose_host()).stop(), json_wanted=as_json))


@service.command()
@output.as_json
def uninstall(as_json: bool) -> None:
    """Stop and delete the service.  The driver and the certificate authority stay: `pointsman uninstall`."""
    sys.exit(output.print_report("uninstall", ProxyService(choose_host()).uninstall(), json_wanted=as_json))


@service.command()
@output.as_json
def status(as_json: bool) -> None:
    """Does it run, and in which process?"""
    host = choose_host()
    state = ProxyService(host).status()
    name = "not installed" if state is None else state.state.name.lower()
    if as_json:
        pid, code = (0, 0) if state is None else (state.pid, state.exit_code)
        click.echo(json.dumps({"service": SERVICE, "state": name, "pid": pid, "exit_code": code}))
    else:
        where = f", process {state.pid}" if state is not None and state.pid else ""
        click.echo(f"{SERVICE}: {name}{where}; log {log_path(host)}")
    sys.exit(0 if state is not None and state.state == ServiceState.RUNNING else 1)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
