"""What became of a canary that was to be redirected."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from pointsman.doctor.canary import TCP, Sighting
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.system.interface import DriverError
from pointsman.wire.abi import REASON_TEXT, Reason, Verdict

HTTP, HTTPS = 80, 443


def redirected(scene: Scene, target: IPv4Address | IPv6Address) -> Finding:
    if not scene.live.active_registration:
        return skipped("no proxy is active (R1)")
    try:
        sighting = scene.sighting(TCP, target, HTTP)
    except (OSError, DriverError) as error:
        return skipped(f"the canary could not fly: {error}")
    match sighting.verdict():
        case None:
            return _unseen(sighting, target)
        case Verdict.REDIRECT:
            return _answered(sighting, target)
        case Verdict.BLOCK:
            return ok(
                f"the policy blocks {target}: seen and blocked, {sighting.error or 'but the program got through'}"
            )
    reason = sighting.flows[-1].reason
    if reason is Reason.PASSED_BY_RULE:
        return ok(f"a rule sends {target} direct: the driver saw it and let it pass")
    return fail(f"the driver let it pass: {REASON_TEXT[reason]}", DIRECT, "see R1 and R2")


def _answered(sighting: Sighting, target: IPv4Address | IPv6Address) -> Finding:
    if sighting.error is not None:
        return fail(
            f"the driver redirected {target}, and nobody answered: {sighting.error}",
            "redirected connections fail until the lease is over; then they go direct",
            "restart the proxy; R4 says who holds its port",
        )
    return ok(f"{target} was redirected to registration {sighting.flows[-1].registration}, and the proxy answered")


def _unseen(sighting: Sighting, target: IPv4Address | IPv6Address) -> Finding:
    if sighting.error is not None and target.version == 6:
        return skipped(f"no route for IPv6 here ({sighting.error}), so no connection was tried")
    return warn(
        f"no filter of ours saw the connection to {target} ({sighting.error or 'somebody else answered'})",
        "this destination goes direct, or its app is not one that the policy names",
        "`pointsman status` says whether it is paused, `pointsman why` what the policy says; W4 if the callouts live",
    )
