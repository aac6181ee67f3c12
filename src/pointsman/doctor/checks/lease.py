"""R2: does the proxy renew its lease?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene


def look(scene: Scene) -> Finding:
    status = scene.live
    active = next((item for item in status.registrations if item.registration == status.active_registration), None)
    if active is None:
        return skipped("no registration is active (R1)")
    if active.lease_left_ms * 4 < active.lease_ms:
        return warn(
            f"{active.lease_left_ms} ms of {active.lease_ms} ms are left",
            "when it is over, connections go direct", "the proxy is slow or suspended: see its log and the load",
        )  # fmt: skip
    return ok(f"{active.lease_left_ms} ms of {active.lease_ms} ms are left; the proxy renews it every second")


CHECK = Check("R2", "lease", Need.DRIVER, look)
