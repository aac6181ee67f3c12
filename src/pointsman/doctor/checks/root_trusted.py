"""T1: does this machine trust our root?"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes

from pointsman.doctor.examination import Check, Need
from pointsman.doctor.finding import Finding, fail, ok, skipped, warn
from pointsman.doctor.root import load_root
from pointsman.doctor.scene import Scene

STORE = r"SOFTWARE\Microsoft\SystemCertificates"


def look(scene: Scene) -> Finding:
    root = load_root(scene)
    if root is None:
        return skipped("there is no root yet: the first run of the proxy makes it")
    thumbprint = root.fingerprint(hashes.SHA1()).hex().upper()
    if scene.host.registry(rf"{STORE}\Disallowed\Certificates\{thumbprint}", "Blob") is not None:
        return fail(f"{thumbprint} is distrusted here", "inspected TLS connections fail", "remove it from `Untrusted`")
    if scene.host.registry(rf"{STORE}\ROOT\Certificates\{thumbprint}", "Blob") is None:
        return warn(
            f"{thumbprint} is not among the machine's trusted roots",
            "apps refuse inspected connections; after the first refusal they are relayed", "pointsman ca install",
        )  # fmt: skip
    return ok(f"{thumbprint} is trusted by this machine")


CHECK = Check("T1", "root trusted", Need.WINDOWS, look)
