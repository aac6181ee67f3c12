"""W2, W3, W4: the filter engine can be opened, and holds our provider, our sublayer and four live callouts."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.system.services import ServiceState
from pointsman.wire import guids

CALLOUTS = {
    "redirect IPv4": guids.CALLOUT_CONNECT_REDIRECT_V4,
    "redirect IPv6": guids.CALLOUT_CONNECT_REDIRECT_V6,
    "block IPv4": guids.CALLOUT_AUTH_CONNECT_V4,
    "block IPv6": guids.CALLOUT_AUTH_CONNECT_V6,
}


def look_engine(scene: Scene) -> Finding:
    try:
        scene.host.wfp_objects().close()
    except OSError as error:
        return fail(f"{error.strerror}", DIRECT, "start BFE (W1); if it runs, restart Windows")
    return ok("opens")


def look_objects(scene: Scene) -> Finding:
    if not _runs(scene):
        return skipped("the driver does not run (D7)")
    try:
        objects = scene.host.wfp_objects()
        try:
            missing = [
                name
                for name, there in (
                    ("provider", objects.has_provider(guids.PROVIDER)),
                    ("sublayer", objects.has_sublayer(guids.SUBLAYER)),
                )
                if not there
            ]
        finally:
            objects.close()
    except OSError as error:
        return skipped(f"cannot be asked: {error.strerror}")
    if missing:
        return fail(f"missing: {', '.join(missing)}", DIRECT, "restart the driver; D11 says what it could not add")
    return ok("provider and sublayer are there")


def look_callouts(scene: Scene) -> Finding:
    if not _runs(scene):
        return skipped("the driver does not run (D7)")
    try:
        objects = scene.host.wfp_objects()
        try:
            found = {name: objects.callout(key) for name, key in CALLOUTS.items()}
        finally:
            objects.close()
    except OSError as error:
        return skipped(f"cannot be asked: {error.strerror}")
    dead = [name for name, callout in found.items() if callout is None or not callout.registered]
    if dead:
        return fail(f"no function behind: {', '.join(dead)}", DIRECT, "restart the driver; D11 says why it is so")
    return ok("4 of 4 are registered")


def look_stale(scene: Scene) -> Finding:
    if _runs(scene):
        return skipped("the driver runs: its objects belong there (W3)")
    try:
        objects = scene.host.wfp_objects()
        try:
            left = objects.has_provider(guids.PROVIDER)
        finally:
            objects.close()
    except OSError as error:
        return skipped(f"cannot be asked: {error.strerror}")
    if left:
        return fail(
            "our provider is there although the driver does not run", "none: without a driver its callouts pass",
            "start and stop the driver, or restart Windows: nothing of ours outlives a restart",
        )  # fmt: skip
    return ok("nothing of ours is left in the filter engine")


def _runs(scene: Scene) -> bool:
    service = scene.driver.service
    return service is not None and service.state == ServiceState.RUNNING


ENGINE = Check("W2", "filter engine", Need.WINDOWS, look_engine)
OBJECTS = Check("W3", "provider and sublayer", Need.WINDOWS, look_objects)
CALLOUTS_LIVE = Check("W4", "callouts", Need.WINDOWS, look_callouts)
STALE = Check("W8", "stale objects", Need.WINDOWS, look_stale)
