"""D3: will this Windows load the file, by its signature and the way Windows was started?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.operate.driver_state import Loaded


def look(scene: Scene) -> Finding:
    state = scene.driver
    outlook = state.forecast
    if outlook is None:
        return skipped("there is no driver file (D1)")
    seen = "; ".join([outlook.signature, *outlook.notes])
    if outlook.loads:
        return ok(seen)
    if isinstance(state.loaded, Loaded):
        return warn(f"{seen}; it is loaded all the same", "none until it is started again", outlook.do or "see D7")
    if outlook.loads is None:
        return warn(seen, "the driver may not load", outlook.do or "start it and see")
    return fail(seen, DIRECT, outlook.do or "install a signed release")


CHECK = Check("D3", "driver signature", Need.WINDOWS, look)
