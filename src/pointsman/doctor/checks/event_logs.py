"""S7, S8, L2: what Windows itself wrote down about us in the last day: code integrity, Defender, the service manager.

An entry counts if it names Pointsman.  One that is older than the driver or proxy that runs now is history, and told.
"""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, NONE, Finding, fail, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.operate.proxy_service import SERVICE as PROXY_SERVICE
from pointsman.system.host import LogEvent
from pointsman.system.services import ServiceState

DAY_MS = 24 * 3600 * 1000
OURS = "pointsman"
QUOTED = 160  # characters of an entry
CODE_INTEGRITY = "Microsoft-Windows-CodeIntegrity/Operational"
DEFENDER = "Microsoft-Windows-Windows Defender/Operational"
SYSTEM = "System"
SCM = "Service Control Manager"
INTEGRITY_EVENTS = {
    3004: "the signature is not valid",
    3023: "the driver is revoked or on the blocklist",
    3033: "the signer is revoked or its certificate has ended",
    3036: "the signer is revoked or its certificate has ended",
    3076: "a policy would block it, and only audits so far",
    3077: "a policy blocks it",
}
AUDIT_ONLY = 3076
QUARANTINE_EVENTS = {1116: "found", 1117: "acted on"}
SERVICE_EVENTS = {
    7000: "did not start",
    7001: "did not start, since a service that it needs did not",
    7009: "did not answer in time when it was started",
    7011: "did not answer in time",
    7023: "ended with an error",
    7024: "ended with an error of its own",
    7026: "did not load when Windows started",
    7031: "ended unexpectedly and was started again",
    7034: "ended unexpectedly",
}


def look_integrity(scene: Scene) -> Finding:
    try:
        found = _about_us(scene, CODE_INTEGRITY, INTEGRITY_EVENTS)
    except OSError as error:
        return _unreadable(CODE_INTEGRITY, error)
    if not found:
        return ok("nothing about our driver in the last 24 hours")
    seen = _told(found, INTEGRITY_EVENTS)
    service = scene.driver.service
    if service is not None and service.state == ServiceState.RUNNING:
        return ok(f"{seen}; the driver runs all the same, so that is over")
    if all(event.number == AUDIT_ONLY for event in found):
        return warn(seen, NONE, f"have pointsman.sys allowed by that policy before it is enforced ({CODE_INTEGRITY})")
    return fail(seen, DIRECT, "install a driver with a signature that this Windows accepts: docs/signing.md")


def look_quarantine(scene: Scene) -> Finding:
    try:
        found = _about_us(scene, DEFENDER, QUARANTINE_EVENTS)
    except OSError as error:
        return _unreadable(DEFENDER, error)
    if not found:
        return ok("Defender has not touched a file of ours in the last 24 hours")
    seen = f"Defender {_told(found, QUARANTINE_EVENTS)}"
    do = "restore it in Windows Security (protection history), add an exclusion, then: pointsman driver install"
    if scene.driver.path is not None and scene.driver.file is None:
        return fail(seen, DIRECT, do)
    return warn(seen, "none yet: the driver's file is there", do)


def look_services(scene: Scene) -> Finding:
    try:
        found = _about_us(scene, SYSTEM, SERVICE_EVENTS, provider=SCM)
    except OSError as error:
        return _unreadable(SYSTEM, error)
    if not found:
        return ok("the service manager had no complaint about us in the last 24 hours")
    seen = f"{len(found)} in 24 hours, the last: {_told(found, SERVICE_EVENTS)}"
    running = scene.service(PROXY_SERVICE)
    if running is not None and running.state == ServiceState.RUNNING:
        return warn(seen, "none now: the service runs", "see the proxy's log (L3) at that time")
    return warn(seen, f"unless a proxy runs in the foreground: {DIRECT}", "see D7 and L1 for the cause")


def _about_us(
    scene: Scene, channel: str, numbers: dict[int, str], *, provider: str | None = None
) -> Sequence[LogEvent]:
    """Newest first.  Raises OSError: the log cannot be read."""
    ids = " or ".join(f"EventID={number}" for number in numbers)
    of = f"Provider[@Name='{provider}'] and " if provider else ""
    query = f"*[System[{of}({ids}) and TimeCreated[timediff(@SystemTime) <= {DAY_MS}]]]"
    events = scene.host.log_events(channel, query)
    return [event for event in events if event.number in numbers and OURS in event.text.lower()]


def _told(found: Sequence[LogEvent], meanings: dict[int, str]) -> str:
    newest = found[0]
    return f"event {newest.number} ({meanings[newest.number]}) at {newest.time}: {newest.text[:QUOTED]}"


def _unreadable(channel: str, error: OSError) -> Finding:
    return skipped(f"the log {channel} cannot be read: {error.strerror}")


INTEGRITY = Check("S7", "code integrity log", Need.WINDOWS, look_integrity)
QUARANTINE = Check("S8", "quarantine", Need.WINDOWS, look_quarantine)
SERVICES = Check("L2", "service manager's log", Need.WINDOWS, look_services)
