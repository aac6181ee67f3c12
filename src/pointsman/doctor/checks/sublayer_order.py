"""W6: who is asked before us."""

from __future__ import annotations

from collections import Counter

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.wire import guids


def look(scene: Scene) -> Finding:
    try:
        objects = scene.host.wfp_objects()
        try:
            filters, sublayers = objects.filters(), objects.sublayers()
        finally:
            objects.close()
    except OSError as error:
        return skipped(f"cannot be asked: {error.strerror}")
    ours = next((one.weight for one in sublayers if one.key == guids.SUBLAYER), None)
    if ours is None:
        return skipped("our sublayer is not there (W3)")
    counts = Counter(one.sublayer for one in filters)
    above = sorted((one for one in sublayers if one.weight > ours and counts[one.key]), key=lambda one: -one.weight)
    if not above:
        return ok("nobody is asked before us")
    named = ", ".join(f"{one.name} ({counts[one.key]} filters)" for one in above)
    return ok(f"asked before us, so what these block never reaches us: {named}")


CHECK = Check("W6", "order of sublayers", Need.WINDOWS, look)
