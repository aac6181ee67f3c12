"""W5: our filters, as the engine has them."""

from __future__ import annotations

from collections import Counter

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.system.host import InstalledFilter
from pointsman.wire import guids

CALLOUT_OF = {
    guids.LAYER_CONNECT_REDIRECT_V4: guids.CALLOUT_CONNECT_REDIRECT_V4,
    guids.LAYER_CONNECT_REDIRECT_V6: guids.CALLOUT_CONNECT_REDIRECT_V6,
    guids.LAYER_AUTH_CONNECT_V4: guids.CALLOUT_AUTH_CONNECT_V4,
    guids.LAYER_AUTH_CONNECT_V6: guids.CALLOUT_AUTH_CONNECT_V6,
}
REGISTRATION_SHIFT = 32  # PM_FILTER_REGISTRATION: the upper half of the raw context


def look(scene: Scene) -> Finding:
    try:
        objects = scene.host.wfp_objects()
        try:
            ours = [one for one in objects.filters() if one.provider == guids.PROVIDER]
        finally:
            objects.close()
    except OSError as error:
        return skipped(f"cannot be asked: {error.strerror}")
    wrong = [one.name for one in ours if _is_wrong(one)]
    if wrong:
        return fail(
            f"{len(wrong)} of {len(ours)} are not as we make them: {', '.join(wrong[:3])}",
            "connections that they match may be blocked if the driver stops",
            "restart the proxy, which replaces them; report this",
        )
    counts = Counter(one.context >> REGISTRATION_SHIFT for one in ours)
    status = scene.live
    live = {item.registration for item in status.registrations}
    strange = sorted(set(counts) - live)
    if strange:
        return warn(
            f"{counts[strange[0]]} filters of registration {strange[0]}, which is over",
            "none: the driver passes what they match", "end the process that holds them, an older proxy of ours",
        )  # fmt: skip
    active = counts[status.active_registration]
    if status.active_registration and not active:
        return warn(
            f"the active registration {status.active_registration} has none", DIRECT,
            "`pointsman status` says whether it is paused; else its policy leaves everything direct",
        )  # fmt: skip
    told = ", ".join(f"{count} of registration {number}" for number, count in sorted(counts.items()))
    return ok(told or "none, and no proxy is active")


def _is_wrong(one: InstalledFilter) -> bool:
    return one.sublayer != guids.SUBLAYER or one.callout != CALLOUT_OF.get(one.layer) or not one.permits_without_callout


CHECK = Check("W5", "our filters", Need.WINDOWS | Need.DRIVER, look)
