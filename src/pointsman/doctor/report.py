"""One file to attach to a bug report: what the checks found, what the driver says, the end of the log; no secrets.

What people browse is not in it either: no destinations and no host names, only verdicts, reasons and counts.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pointsman import __version__
from pointsman.doctor.examination import Result
from pointsman.doctor.redaction import redact
from pointsman.doctor.scene import Scene
from pointsman.errors import Exit, PointsmanError
from pointsman.operate.proxy_service import log_path
from pointsman.wire.abi import REASON_TEXT, Reason
from pointsman.wire.abi import Counter as DriverCounter

LOG_TAIL = 64 << 10  # bytes


def write_report(path: Path, results: Sequence[Result], scene: Scene) -> None:
    """Never over a file that is there.  Raises PointsmanError (PM218)."""
    text = redact(compose(results, scene))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise PointsmanError(
            "cannot write the report",
            code="PM218",
            seen=f"{path}: {error.strerror or error}",
            effect="none on traffic; there is no report",
            do="name a file that does not exist, in a folder where you may write",
            status=Exit.BAD_FILE,
        ) from error


def compose(results: Sequence[Result], scene: Scene) -> str:
    """Before redaction."""
    counts = Counter(str(result.finding.outcome) for result in results)
    parts = [
        "Pointsman doctor report",
        f"pointsman {__version__}, Python {platform.python_version()}, {sys.platform} {platform.machine()}",
        ", ".join(f"{name} {count}" for name, count in sorted(counts.items())),
        "",
        "== checks",
        *(line for result in results for line in result.lines()),
        "",
        "== driver",
        *_driver_lines(scene),
        "",
        "== end of the service's log",
        _log_tail(scene),
    ]
    return "\n".join(parts) + "\n"


def _driver_lines(scene: Scene) -> list[str]:
    status = scene.status
    if isinstance(status, str):
        return [status]
    rows = [
        f"active registration {status.active_registration}, generation {status.generation}, state {status.state!r}",
        f"events written {status.events_written}",
    ]
    for item in status.registrations:
        rows.append(
            f"registration {item.registration}: process {item.pid}, lease {item.lease_left_ms} of {item.lease_ms} ms"
        )
    names = {int(reason): REASON_TEXT[reason] for reason in Reason} | {
        int(counter): counter.name.lower().replace("_", " ") for counter in DriverCounter
    }
    rows += [f"{names.get(index, index)}: {count}" for index, count in enumerate(status.counters) if count]
    return rows


def _log_tail(scene: Scene) -> str:
    if scene.maybe_host is None:
        return "none here"
    try:
        with log_path(scene.maybe_host).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LOG_TAIL))
            return file.read(LOG_TAIL).decode("utf-8", "replace")
    except OSError as error:
        return f"none: {error.strerror}"
