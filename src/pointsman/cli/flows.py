"""`pointsman flows`: what became of the last connections."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from pointsman.cli import options
from pointsman.cli.pause import tell
from pointsman.control.flow_log import human_line
from pointsman.control.flow_reader import FlowFile, RememberedFlows, Source, wanted
from pointsman.engine.flow_record import FlowRecord
from pointsman.errors import Exit, PointsmanError

POLL = 0.2  # seconds
LAST = 100  # records, unless told otherwise
EFFECT = "none on traffic; flow records are not shown"


@click.command(short_help="show what became of the last connections")
@click.option("--follow", is_flag=True, help="go on with those that end from now on, until Ctrl-C")
@click.option("--last", type=click.IntRange(0), default=LAST, metavar="N", help=f"only the last N; default: {LAST}")
@click.option("--app", metavar="NAME", help="only those of this program: a path or a file name")
@click.option("--host", metavar="NAME", help="only those to this name and below it, or to this address")
@click.option("--file", type=options.PATH, metavar="FILE", help="read this flow file; needs no running proxy")
@options.source
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
def flows(
    *, follow: bool, last: int, app: str | None, host: str | None, file: Path | None, source: str, as_json: bool
) -> None:
    """Show a line for each connection (for each HTTP request, where those are seen) that the proxy has handled.

    A record is written when a connection ends. They come from the flow file of the running proxy if it writes one
    (`run --flows`), else from what it remembers: the last 1,000. What goes direct or is blocked in the kernel is not
    among them: `pointsman events`.

    Exit status: 0; 7 there is no driver here; 8 the file cannot be read; 10 no proxy answers.
    """
    reader: Source = FlowFile(file) if file is not None else running(source)
    try:
        _show([one for one in reader.read() if wanted(one, app, host)], last, as_json=as_json)
        while follow:
            time.sleep(POLL)
            found = [one for one in reader.read() if wanted(one, app, host)]
            _show(found, len(found), as_json=as_json)
    except OSError as error:
        raise PointsmanError(
            "cannot read flow records",
            code="PM464", seen=f"{file or 'the proxy'}: {error.strerror or error}", effect=EFFECT,
            do="name a file that `run --flows` writes, as a user who may read it", status=Exit.BAD_FILE,
        ) from error  # fmt: skip


def running(source: str) -> Source:
    """Where the records of the active proxy are.  Raises PointsmanError: PM462, PM463, PM465."""

    def asked(arguments: dict[str, Any]) -> dict[str, Any]:
        return tell("flows", arguments, source, effect=EFFECT)

    told = asked({"since": sys.maxsize})
    path = Path(told["file"]) if told["file"] else None
    if path is not None and (not told["lost"] or not told["sees_all"]):
        return FlowFile(path)
    if told["sees_all"]:
        return RememberedFlows(asked)
    raise PointsmanError(
        "there are no flow records to show",
        code="PM465",
        seen="the proxy has workers, and writes no flow file: nobody has the records of all",
        effect=EFFECT,
        do="start it with --flows FILE, or without --workers",
        status=Exit.NO_PROXY,
    )


def _show(records: list[FlowRecord], last: int, *, as_json: bool) -> None:
    for record in records[len(records) - min(last, len(records)) :]:
        when = time.strftime("%H:%M:%S", time.localtime(record.time))
        line = msgspec.json.encode(record).decode() if as_json else f"{when}  {human_line(record)}"
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
