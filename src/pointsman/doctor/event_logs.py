"""What Windows itself wrote down about us in the last day.

An entry counts if it names Pointsman.  One that is older than the driver or proxy that runs now is history, and told.
"""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.doctor.finding import Finding, skipped
from pointsman.doctor.scene import Scene
from pointsman.system.host import LogEvent

DAY_MS = 24 * 3600 * 1000
OURS = "pointsman"
QUOTED = 160  # characters of an entry


def about_us(scene: Scene, channel: str, numbers: dict[int, str], *, provider: str | None = None) -> Sequence[LogEvent]:
    """Newest first.  Raises OSError: the log cannot be read."""
    ids = " or ".join(f"EventID={number}" for number in numbers)
    of = f"Provider[@Name='{provider}'] and " if provider else ""
    query = f"*[System[{of}({ids}) and TimeCreated[timediff(@SystemTime) <= {DAY_MS}]]]"
    events = scene.host.log_events(channel, query)
    return [event for event in events if event.number in numbers and OURS in event.text.lower()]


def told(found: Sequence[LogEvent], meanings: dict[int, str]) -> str:
    newest = found[0]
    return f"event {newest.number} ({meanings[newest.number]}) at {newest.time}: {newest.text[:QUOTED]}"


def unreadable(channel: str, error: OSError) -> Finding:
    return skipped(f"the log {channel} cannot be read: {error.strerror}")
