"""N1: a system proxy that leads to us would loop."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, warn
from pointsman.doctor.scene import Scene

INTERNET = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings"
LOCAL = ("127.0.0.1:", "localhost:", "[::1]:")


def look(scene: Scene) -> Finding:
    server = scene.host.registry(INTERNET, "ProxyServer")
    enabled = scene.host.registry(INTERNET, "ProxyEnable")
    if not enabled or not isinstance(server, str) or not server:
        return ok("no proxy is set for the machine")
    status = scene.status
    if not isinstance(status, str):
        ports = {str(end[1]) for item in status.registrations for end in (item.endpoints.v4, item.endpoints.v6) if end}
        if any(server.startswith(local) and server.rpartition(":")[2] in ports for local in LOCAL):
            return warn(
                f"{server} is our own listener", "programs that use it are refused: it is no open proxy",
                "switch that setting off; the driver redirects without it",
            )  # fmt: skip
    return ok(f"{server}: programs that use it are seen as connections to that address")


CHECK = Check("N1", "system proxy", Need.WINDOWS, look)
