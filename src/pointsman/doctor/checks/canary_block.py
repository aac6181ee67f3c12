"""R5c: what the policy blocks is blocked."""

from __future__ import annotations

from pointsman.doctor.canary import TARGET_V4, UDP
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped
from pointsman.doctor.flight import HTTPS
from pointsman.doctor.scene import Scene
from pointsman.system.interface import DriverError
from pointsman.wire.abi import Verdict


def look(scene: Scene) -> Finding:
    """QUIC is what most policies block, the default one among them."""
    if not scene.live.active_registration:
        return skipped("no proxy is active (R1)")
    try:
        sighting = scene.sighting(UDP, TARGET_V4, HTTPS)
    except (OSError, DriverError) as error:
        return skipped(f"the canary could not fly: {error}")
    if sighting.verdict() is not Verdict.BLOCK:
        return skipped("this policy does not block QUIC, so there is nothing to prove")
    if sighting.error is None:
        return fail(
            "the driver blocked it, and the program was let through all the same",
            "blocked destinations are reachable", "another product's filter overrides ours: see W7",
        )  # fmt: skip
    return ok(f"QUIC to {TARGET_V4} is blocked, the program was told: {sighting.error}")


CHECK = Check("R5c", "canary block", Need.DRIVER, look)
