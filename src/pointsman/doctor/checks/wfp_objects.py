"""W3: our provider and our sublayer."""

from __future__ import annotations

from pointsman.doctor.driver_state import runs
from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.wire import guids


def look(scene: Scene) -> Finding:
    if not runs(scene):
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


CHECK = Check("W3", "provider and sublayer", Need.WINDOWS, look)
