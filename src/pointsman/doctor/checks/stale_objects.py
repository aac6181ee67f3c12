"""W8: nothing of ours is left where no driver runs."""

from __future__ import annotations

from pointsman.doctor.driver_state import runs
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.wire import guids


def look(scene: Scene) -> Finding:
    if runs(scene):
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


CHECK = Check("W8", "stale objects", Need.WINDOWS, look)
