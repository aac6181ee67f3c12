"""R3, R5, R6: a canary for each family proves that interception happens, that block blocks, and that nothing loops."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from pointsman.doctor.canary import TARGET_V4, TARGET_V6, TCP, UDP, Sighting
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.system.interface import DriverError
from pointsman.wire.abi import REASON_TEXT, Reason, Verdict

HTTP, HTTPS = 80, 443


def look_v4(scene: Scene) -> Finding:
    return _redirected(scene, TARGET_V4)


def look_v6(scene: Scene) -> Finding:
    return _redirected(scene, TARGET_V6)


def look_block(scene: Scene) -> Finding:
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


def look_loop(scene: Scene) -> Finding:
    """The proxy's own connections must not come back to it."""
    if not scene.live.active_registration:
        return skipped("no proxy is active (R1)")
    try:
        sighting = scene.sighting(TCP, TARGET_V4, HTTP)
    except (OSError, DriverError) as error:
        return skipped(f"the canary could not fly: {error}")
    proxies = {item.pid for item in sighting.after.registrations}
    looping = [event for event in sighting.others if event.pid in proxies and event.verdict is Verdict.REDIRECT]
    if looping:
        return fail(
            f"connections of the proxy itself (process {looping[0].pid}) were redirected to it",
            "connections hang and pile up", "stop the proxy (everything then goes direct) and report this",
        )  # fmt: skip
    dialled = sighting.grown(Reason.OWN_PROCESS) + sighting.grown(Reason.ALREADY_REDIRECTED)
    if not dialled:
        return skipped("the proxy dialled nobody for the canary, so there was nothing to loop")
    return ok(f"the proxy dialled out {dialled} times, and the driver let it pass")


def _redirected(scene: Scene, target: IPv4Address | IPv6Address) -> Finding:
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


CANARY_V4 = Check("R5", "canary IPv4", Need.DRIVER, look_v4)
CANARY_V6 = Check("R5b", "canary IPv6", Need.DRIVER, look_v6)
BLOCK = Check("R5c", "canary block", Need.DRIVER, look_block)
LOOP = Check("R6", "loop safety", Need.DRIVER, look_loop)
