"""D7: does the driver run; if not, how did its last start end?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene
from pointsman.system.services import ServiceState
from pointsman.system.windows.service_errors import ADVICE

NEVER_STARTED = 1077


def look(scene: Scene) -> Finding:
    service = scene.driver.service
    if service is None:
        return skipped("there is no service (D5)")
    if service.state == ServiceState.RUNNING:
        return ok("running")
    seen = service.state.name.lower().replace("_", " ")
    if service.state == ServiceState.STOP_PENDING:
        return fail(f"{seen}: a program has the device open", DIRECT, "close it (Process Explorer, handle), or restart")
    if service.exit_code in (0, NEVER_STARTED):
        return fail(seen, DIRECT, "pointsman driver start")
    meaning, do = ADVICE.get(service.exit_code, ("unknown to us", "see the System event log"))
    return fail(f"{seen}, error {service.exit_code}: {meaning}", DIRECT, do)


CHECK = Check("D7", "driver running", Need.WINDOWS, look)
