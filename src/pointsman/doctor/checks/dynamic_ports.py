"""N2: too few dynamic ports make dials fail under load."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, warn
from pointsman.doctor.scene import Scene

TCPIP = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters"
FEWEST_PORTS = 16_384


def look(scene: Scene) -> Finding:
    most = scene.host.registry(TCPIP, "MaxUserPort")
    if not isinstance(most, int):
        return ok("Windows' default of 16,384")
    if most - 1025 < FEWEST_PORTS:
        return warn(
            f"MaxUserPort is {most}", "under load dials fail with error 10048 or 10055",
            "netsh int ipv4 set dynamicport tcp start=10000 num=55000",
        )  # fmt: skip
    return ok(f"MaxUserPort is {most}")


CHECK = Check("N2", "dynamic ports", Need.WINDOWS, look)
