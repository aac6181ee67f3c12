"""W7c: whose callouts stand at our layers besides ours?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.system.host import Callout
from pointsman.wire import guids

LAYERS = {
    guids.LAYER_CONNECT_REDIRECT_V4, guids.LAYER_CONNECT_REDIRECT_V6, guids.LAYER_AUTH_CONNECT_V4,
    guids.LAYER_AUTH_CONNECT_V6,
}  # fmt: skip
REDIRECT = {guids.LAYER_CONNECT_REDIRECT_V4, guids.LAYER_CONNECT_REDIRECT_V6}


def look(scene: Scene) -> Finding:
    try:
        objects = scene.host.wfp_objects()
        try:
            others = [callout for callout in objects.callouts() if _foreign(callout)]
        finally:
            objects.close()
    except OSError as error:
        return skipped(f"cannot be asked: {error.strerror}")
    redirecting = sorted({callout.name for callout in others if callout.layer in REDIRECT})
    names = sorted({callout.name for callout in others})
    if redirecting:
        return warn(
            f"also redirects connections: {', '.join(redirecting)}",
            "apps that it has redirected reach us as its process",
            "exclude each other's processes",
        )
    return ok(f"nobody else redirects; at the authorize layers: {', '.join(names) or 'nobody'}")


def _foreign(callout: Callout) -> bool:
    return callout.layer in LAYERS and callout.provider != guids.PROVIDER and callout.registered


CHECK = Check("W7c", "other redirectors", Need.WINDOWS, look)
