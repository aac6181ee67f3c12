"""A driver event as people and programs read it: one JSON object, one line of text.

Pure but for the clock's zone.  The driver's numbers become words here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from pointsman.control.flow_log import app_name, printable
from pointsman.wire.abi import REASON_TEXT, Event, EventKind, Flag, Verdict

KINDS = {
    "registered": "registered; it gets new connections once its filters stand",
    "withdrawn": "withdrawn; new connections go to an older proxy, or direct",
    "owner_exited": "the process ended; new connections go to an older proxy, or direct",
    "owner_closed": "the process let go of the driver; new connections go to an older proxy, or direct",
}
"""What happened to a registration, and what that means for traffic."""
EPOCH_1601 = 11_644_473_600  # seconds from 1601-01-01 to 1970-01-01
TICKS = 10_000_000  # Windows' 100 ns in a second


class EventRecord(Struct, frozen=True, omit_defaults=True):
    """`lost` alone says that so many events before `sequence` were overwritten before anybody read them."""

    sequence: int
    time: float = 0.0
    """Seconds since 1970, UTC."""
    kind: str = ""
    pid: int = 0
    app: str | None = None
    """Path of the program; of a process that started, its image."""
    verdict: str | None = None
    reason: str | None = None
    address: str | None = None
    port: int | None = None
    protocol: int | None = None
    """IANA number."""
    layer: int | None = None
    """FWPS layer id."""
    registration: int | None = None
    rule: int | None = None
    parent: int | None = None
    """PID of who started the process."""
    status: str | None = None
    """NTSTATUS of a WFP call that failed."""
    cut: bool = False
    """The app's path had more than the driver keeps."""
    lost: int = 0


def record_of(event: Event, image_path: Callable[[bytes], str]) -> EventRecord:
    is_flow = event.kind is EventKind.FLOW
    is_start = event.kind is EventKind.PROCESS_STARTED
    return EventRecord(
        sequence=event.sequence,
        time=event.time / TICKS - EPOCH_1601,
        kind=event.kind.name.lower(),
        pid=event.pid,
        app=image_path(event.app_id) if event.app_id else None,
        verdict=event.verdict.name.lower() if is_flow else None,
        reason=REASON_TEXT[event.reason] if is_flow else None,
        address=str(event.remote[0]) if event.remote else None,
        port=event.remote[1] if event.remote else None,
        protocol=event.protocol if is_flow else None,
        layer=event.layer if is_flow else None,
        registration=None if is_start else event.registration,
        rule=event.rule_id if is_flow else None,
        parent=event.parent_pid if is_start else None,
        status=f"0x{event.status:08X}" if event.status else None,
        cut=bool(event.flags & Flag.APP_ID_TRUNCATED),
    )


def line_of(record: EventRecord) -> str:
    """`14:03:22.117  redirect  curl[4711] 203.0.113.10:443  redirected to the proxy`"""
    if record.lost:
        return f"{'':12}  lost      {record.lost} events: the ring was full before they were read"
    when = datetime.fromtimestamp(record.time).astimezone().strftime("%H:%M:%S.%f")[:12]
    who = f"{app_name(record.app)}[{record.pid}]"
    match record.kind:
        case "flow":
            address = f"[{record.address}]" if record.address and ":" in record.address else record.address
            failed = f" ({record.status})" if record.status else ""
            verb = "direct" if record.verdict == Verdict.PASS.name.lower() else record.verdict
            text = f"{verb:<8}  {who} {address}:{record.port}  {record.reason}{failed}"
        case "process_started":
            text = f"{'started':<8}  {record.app or '?'}[{record.pid}] by process {record.parent}"
        case kind:
            text = f"{'proxy':<8}  registration {record.registration} of process {record.pid}: {KINDS.get(kind, kind)}"
    return printable(f"{when}  {text}")
