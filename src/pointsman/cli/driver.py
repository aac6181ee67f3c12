"""`pointsman driver`: the driver of this machine, from its file to its unloading."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pointsman.cli import options, output
from pointsman.cli.run import choose_host, choose_system
from pointsman.operate.driver_control import DriverControl
from pointsman.operate.driver_state import signing_json, signing_lines
from pointsman.operate.package import bundled_driver
from pointsman.operate.placement import DriverFile, read_driver
from pointsman.system.interface import Driver

file_option = click.option("--file", type=options.PATH, metavar="FILE", help="another pointsman.sys than ours")
force_option = click.option("--force", is_flag=True, help="also while a proxy is registered; its connections go direct")


@click.group(short_help="install, start, stop, upgrade, remove the driver")
def driver() -> None:
    """The driver's service and its file.  Each command may be repeated, and repairs what an earlier one left half done.

    Exit status: 0; 6 another version, 7 the service manager refused, 8 the file, 11 not an administrator, 12 done, and
    Windows must be restarted.
    """


@driver.command()
@file_option
@output.as_json
def install(file: Path | None, as_json: bool) -> None:
    """Put the driver's file into its place and create its service.  It is started by `driver start`."""
    _put("install", file, as_json=as_json)


@driver.command()
@file_option
@output.as_json
def upgrade(file: Path | None, as_json: bool) -> None:
    """Stage this version of the driver; if one runs, it becomes active when Windows starts."""
    _put("upgrade", file, as_json=as_json)


@driver.command()
@output.as_json
def start(as_json: bool) -> None:
    """Load the driver.  Without a proxy it passes everything."""
    sys.exit(output.print_report("start", control().start(), json_wanted=as_json))


@driver.command()
@force_option
@output.as_json
def stop(force: bool, as_json: bool) -> None:
    """Unload the driver."""
    sys.exit(output.print_report("stop", control().stop(force=force), json_wanted=as_json))


@driver.command()
@force_option
@output.as_json
def uninstall(force: bool, as_json: bool) -> None:
    """Unload the driver, delete its service and its files."""
    sys.exit(output.print_report("uninstall", control().uninstall(force=force), json_wanted=as_json))


@driver.command()
@output.as_json
def status(as_json: bool) -> None:
    """What is installed, what is loaded, and whether this Windows will load it."""
    state = control().state()
    click.echo(json.dumps(state.as_json()) if as_json else "\n".join(state.lines()))


def _put(command: str, file: Path | None, *, as_json: bool) -> None:
    host = choose_host()
    wanted = read_driver(file) if file else bundled_driver(host.machine())
    controlled = control()
    outlook = controlled.forecast(wanted)
    if not as_json:  # before anything is changed: an operator may want to stop here
        click.echo(f"{wanted.path}: {wanted.version} for {wanted.image.machine_name}")
        click.echo("\n".join(signing_lines(outlook)))
    report = controlled.upgrade(wanted) if command == "upgrade" else controlled.install(wanted)
    more: dict[str, object] = {"file": _file_json(wanted), "signing": signing_json(outlook)}
    sys.exit(output.print_report(command, report, json_wanted=as_json, more=more))


def control() -> DriverControl:
    host = choose_host()  # says what a person should know before anything is loaded

    def opened() -> Driver:
        return choose_system().open_driver()

    return DriverControl(host, opened)


def _file_json(file: DriverFile) -> dict[str, object]:
    return {"path": str(file.path), "version": file.version, "sha256": file.sha256}
