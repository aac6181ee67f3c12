"""R4: does the registered process own the ports to which the driver leads connections?"""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped
from pointsman.doctor.scene import Scene

UNKNOWN = 0  # seen under Wine: a listener's owner is not told


def look(scene: Scene) -> Finding:
    status = scene.live
    active = next((item for item in status.registrations if item.registration == status.active_registration), None)
    if active is None:
        return skipped("no registration is active (R1)")
    sockets = scene.host.listeners()
    if sockets is None:
        return skipped("this system does not list its listeners to us")
    endpoints = [endpoint for endpoint in (active.endpoints.v4, active.endpoints.v6) if endpoint is not None]
    for address, port in endpoints:
        owners = {item.pid for item in sockets if item.port == port and item.address == address}
        if owners == {UNKNOWN}:
            return skipped(f"somebody listens on {address} port {port}; this system does not say who")
        if active.pid not in owners:
            holder = f"held by process {min(owners)}" if owners else "nobody listens there"
            return fail(
                f"{address} port {port}: {holder}, not process {active.pid}",
                "redirected connections are refused until the lease is over; then they go direct",
                "restart the proxy",
            )
    return ok(", ".join(f"{address} port {port}" for address, port in endpoints))


CHECK = Check("R4", "listeners", Need.WINDOWS | Need.DRIVER, look)
