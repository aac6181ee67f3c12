"""Our root, as the checks of it read it."""

from __future__ import annotations

from cryptography import x509

from pointsman.doctor.scene import Scene


def load_root(scene: Scene) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate((scene.ca_dir / "root.pem").read_bytes())
    except (OSError, ValueError):
        return None
