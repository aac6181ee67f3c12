"""L1: the proxy's service."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import DIRECT, Finding, fail, ok, skipped, warn
from pointsman.doctor.scene import Scene
from pointsman.operate.proxy_service import SERVICE, log_path
from pointsman.system.services import ServiceState
from pointsman.system.windows.service_errors import ADVICE


def look(scene: Scene) -> Finding:
    service = scene.service(SERVICE)
    if service is None:
        return skipped("not installed; `pointsman run` in the foreground needs none")
    state = service.state.name.lower().replace("_", " ")
    if service.state != ServiceState.RUNNING:
        if service.exit_code:
            meaning, do = ADVICE.get(service.exit_code, ("unknown to us", f"see {log_path(scene.host)}"))
            return fail(f"{state}, error {service.exit_code}: {meaning}", DIRECT, do)
        return warn(state, f"unless a proxy runs in the foreground: {DIRECT}", "pointsman service start")
    status = scene.status
    if not isinstance(status, str) and service.pid not in {item.pid for item in status.registrations}:
        return fail(f"runs as process {service.pid}, which is not registered", DIRECT, f"see {log_path(scene.host)}")
    return ok(f"runs as process {service.pid}")


CHECK = Check("L1", "proxy service", Need.WINDOWS, look)
