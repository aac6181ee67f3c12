"""`pointsman events`: the driver's own log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from pointsman.authority.places import default_ca_dir
from pointsman.cli import options
from pointsman.cli.run import choose_system
from pointsman.control.event_reader import EventReader
from pointsman.control.event_record import EventRecord, line_of
from pointsman.control.kernel_log import kept_records
from pointsman.errors import Exit, PointsmanError
from pointsman.system.interface import Driver, DriverError, System
from pointsman.wire.abi import AbiError

POLL = 0.2  # seconds


@click.command(short_help="show the driver's log")
@click.option("--follow", is_flag=True, help="go on with what happens, until Ctrl-C")
@click.option("--last", type=click.IntRange(0), metavar="N", help="only the last N that are there already")
@options.state
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
def events(*, follow: bool, last: int | None, state: Path | None, as_json: bool) -> None:
    """Show what the driver did: verdicts with their reasons, registrations, process starts; lost events are counted.

    \b
    A line is the time, what was done, and to whom:
      redirect  sent to the proxy         direct  let pass, with the reason
      block     refused                   lost    events that nobody read in time
      started   a program, and by which   proxy   a proxy came or went

    First what proxies kept on disk (--state), then what the driver has in memory. Neither needs a running proxy.

    Exit status: 0; 7 there is no driver and nothing on disk.
    """
    show = _show_json if as_json else _show_line
    kept = list(kept_records(state or default_ca_dir()))
    system, driver, refused = _open_driver()
    if driver is None or system is None:
        if refused is not None and (follow or not kept):
            raise refused
        _show_all(kept, last, show)
        return
    try:
        reader = EventReader(driver, system.image_path)
        recent = reader.read()
        _show_all([*before(kept, recent), *recent], last, show)
        while follow:
            time.sleep(POLL)
            for record in reader.read():
                show(record)
            sys.stdout.flush()
    except (DriverError, AbiError) as error:
        raise PointsmanError(
            "cannot read the driver's events",
            code="PM205",
            seen=str(error),
            effect="nothing for traffic; events are not shown",
            do="see `pointsman status`",
            status=Exit.DRIVER_MISSING,
        ) from error
    finally:
        driver.close()


def before(kept: list[EventRecord], recent: list[EventRecord]) -> Iterator[EventRecord]:
    """What is on disk and no longer in the ring.  A driver that was loaded anew counts from 0 again, so the time
    decides, not the number."""
    begin = next((record.time for record in recent if not record.lost), None)
    for record in kept:
        if begin is not None and not record.lost and record.time >= begin:
            return
        yield record


def _open_driver() -> tuple[System | None, Driver | None, PointsmanError | None]:
    try:
        system = choose_system()
        return system, system.open_driver(), None
    except PointsmanError as error:
        return None, None, error


def _show_all(records: list[EventRecord], last: int | None, show: Callable[[EventRecord], None]) -> None:
    for record in records if last is None else records[len(records) - min(last, len(records)) :]:
        show(record)
    sys.stdout.flush()


def _show_json(record: EventRecord) -> None:
    sys.stdout.write(msgspec.json.encode(record).decode() + "\n")


def _show_line(record: EventRecord) -> None:
    sys.stdout.write(line_of(record) + "\n")
