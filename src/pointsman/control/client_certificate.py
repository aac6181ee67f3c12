"""Is this file a client certificate that can be used?  Asked when a policy is loaded, before any origin asks for it."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from pointsman.server.upstream_tls import load_certificate


def check_client_certificate(path: Path) -> None:
    """Raises ValueError that says why not; it never repeats what is in the file."""
    try:
        status = path.stat()
        if not path.is_file():
            raise ValueError("not a plain file")
        if os.name == "posix" and status.st_mode & 0o077:
            raise ValueError(f"others may read or change it (mode {status.st_mode & 0o777:o}); use 600")
        load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)
    except ssl.SSLError as error:
        reason = (error.reason or "neither").lower().replace("_", " ")
        raise ValueError(f"not a certificate with its unencrypted key, in PEM: {reason}") from None
    except OSError as error:
        raise ValueError((error.strerror or "cannot be read").lower()) from None
