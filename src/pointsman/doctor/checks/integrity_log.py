"""S7: what code integrity wrote down about our driver."""

from __future__ import annotations

from pointsman.doctor.event_logs import about_us, told, unreadable
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, NONE, Finding, fail, ok, warn
from pointsman.doctor.scene import Scene
from pointsman.system.services import ServiceState

CODE_INTEGRITY = "Microsoft-Windows-CodeIntegrity/Operational"
INTEGRITY_EVENTS = {
    3004: "the signature is not valid",
    3023: "the driver is revoked or on the blocklist",
    3033: "the signer is revoked or its certificate has ended",
    3036: "the signer is revoked or its certificate has ended",
    3076: "a policy would block it, and only audits so far",
    3077: "a policy blocks it",
}
AUDIT_ONLY = 3076


def look(scene: Scene) -> Finding:
    try:
        found = about_us(scene, CODE_INTEGRITY, INTEGRITY_EVENTS)
    except OSError as error:
        return unreadable(CODE_INTEGRITY, error)
    if not found:
        return ok("nothing about our driver in the last 24 hours")
    seen = told(found, INTEGRITY_EVENTS)
    service = scene.driver.service
    if service is not None and service.state == ServiceState.RUNNING:
        return ok(f"{seen}; the driver runs all the same, so that is over")
    if all(event.number == AUDIT_ONLY for event in found):
        return warn(seen, NONE, f"have pointsman.sys allowed by that policy before it is enforced ({CODE_INTEGRITY})")
    return fail(seen, DIRECT, "install a driver with a signature that this Windows accepts: docs/signing.md")


CHECK = Check("S7", "code integrity log", Need.WINDOWS, look)
