"""W7: known drivers that redirect, filter below us or inspect TLS.  Two of a kind work against each other."""

from __future__ import annotations

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, ok, warn
from pointsman.doctor.scene import Scene

DRIVERS = {
    "windivert": ("WinDivert (pydivert, zapret and others)", "sees and may change the proxy's own packets"),
    "ndisrd": ("Windows Packet Filter", "works below WFP and sees the proxy's traffic"),
    "mullvad-split-tunnel": ("Mullvad split tunnelling", "redirects binds and connects of excluded apps"),
    "fortfw": ("Fort Firewall", "may block what the proxy dials"),
    "portmasterkext": ("Portmaster", "redirects connections to its own proxy"),
    "netebpfext": ("eBPF for Windows", "its programs may redirect connects"),
    "npcap": ("Npcap", "its loopback adapter can break the question for a redirect context"),
    "wintun": ("Wintun (a VPN)", "traffic leaves through a tunnel, after us"),
    "wireguard": ("WireGuard", "traffic leaves through a tunnel, after us"),
    "ovpn-dco": ("OpenVPN", "traffic leaves through a tunnel, after us"),
    "tap0901": ("OpenVPN (TAP)", "traffic leaves through a tunnel, after us"),
    "nordlwf": ("NordVPN", "traffic leaves through a tunnel, after us"),
    "klwfp": ("Kaspersky", "inspects TLS with a local proxy"),
    "epfwwfp": ("ESET", "inspects TLS with a local proxy"),
    "bdnet": ("Bitdefender", "inspects TLS with a local proxy"),
    "aswnetsec": ("Avast or AVG", "inspects TLS with a local proxy"),
    "adgnetworkwfpdrv": ("AdGuard", "redirects connections to its own proxy"),
    "nfsdk": ("NetFilter SDK (web filters)", "redirects connections to its own proxy"),
    "stadrv": ("Netskope", "redirects connections to its own proxy"),
    "zapprd": ("Zscaler", "redirects connections to its own proxy"),
}
"""Service names (lower case, beginnings) of drivers that are known from their sources or documentation."""
INTERCEPTS = ("inspects", "redirects", "sees and may")


def look(scene: Scene) -> Finding:
    with scene.host.services() as services:
        running = services.drivers()
    known = [(name, text) for name in running if (text := _known(name)) is not None]
    if not known:
        return ok(f"none of the known ones among {len(running)} drivers")
    listed = "; ".join(f"{product} ({name}) {what}" for name, (product, what) in known)
    if any(what.startswith(INTERCEPTS) for _, (_, what) in known):
        return warn(
            listed, "apps that it handles may reach us as its process, or not at all",
            "exclude python.exe of this proxy there, and its program in our policy (app = ..., action = direct)",
        )  # fmt: skip
    return ok(listed)


def _known(name: str) -> tuple[str, str] | None:
    return next((text for known, text in DRIVERS.items() if name.lower().startswith(known)), None)


CHECK = Check("W7", "other network drivers", Need.WINDOWS, look)
