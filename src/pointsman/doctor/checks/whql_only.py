"""S5: a policy by which only WHQL-signed drivers load."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.system.host import CodeIntegrity


def look(scene: Scene) -> Finding:
    options = scene.host.code_integrity()
    if options is None:
        return skipped("this system does not say")
    return ok("only WHQL-signed drivers load" if options & CodeIntegrity.WHQL_ONLY else "no such policy")


CHECK = Check("S5", "WHQL-only policy", Need.WINDOWS, look)
