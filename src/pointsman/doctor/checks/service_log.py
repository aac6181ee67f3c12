"""L2: the service manager's complaints about us."""

from __future__ import annotations

from pointsman.doctor.event_logs import about_us, told, unreadable
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, ok, warn
from pointsman.doctor.scene import Scene
from pointsman.operate.proxy_service import SERVICE as PROXY_SERVICE
from pointsman.system.services import ServiceState

SYSTEM = "System"
SCM = "Service Control Manager"
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


def look(scene: Scene) -> Finding:
    try:
        found = about_us(scene, SYSTEM, SERVICE_EVENTS, provider=SCM)
    except OSError as error:
        return unreadable(SYSTEM, error)
    if not found:
        return ok("the service manager had no complaint about us in the last 24 hours")
    seen = f"{len(found)} in 24 hours, the last: {told(found, SERVICE_EVENTS)}"
    running = scene.service(PROXY_SERVICE)
    if running is not None and running.state == ServiceState.RUNNING:
        return warn(seen, "none now: the service runs", "see the proxy's log (L3) at that time")
    return warn(seen, f"unless a proxy runs in the foreground: {DIRECT}", "see D7 and L1 for the cause")


CHECK = Check("L2", "service manager's log", Need.WINDOWS, look)
