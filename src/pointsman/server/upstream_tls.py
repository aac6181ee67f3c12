"""TLS client contexts for the origin: the system's roots and those the operator added, always verifying.

One context for each ALPN offer, made once: loading the roots costs more than a handshake.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from pointsman.engine.interception import SPOKEN
from pointsman.errors import Exit, PointsmanError


class UpstreamContexts:
    """An `engine.interception.UpstreamTls`."""

    def __init__(self, extra_roots: Sequence[Path] = ()) -> None:
        """Raises PointsmanError PM452 if a file with roots cannot be used."""
        self._extra_roots = tuple(extra_roots)
        # Every offer that the engine can make; all are made now so that no connection waits for it.
        offers = [offer for size in range(len(SPOKEN) + 1) for offer in permutations(SPOKEN, size)]
        self._contexts = {alpn: self._make(alpn) for alpn in offers}

    def __call__(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        return self._contexts[alpn]

    def _make(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        for path in self._extra_roots:
            try:
                context.load_verify_locations(path)
            except OSError as error:  # ssl.SSLError is one
                raise _unusable(path, error) from error
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def _unusable(path: Path, error: OSError) -> PointsmanError:
    return PointsmanError(
        f"cannot use the upstream CA file {path}",
        code="PM452",
        seen=f"{error.strerror or error}",
        effect="the proxy does not start; nothing is intercepted (fail open)",
        do="name a file with certificates in PEM",
        status=Exit.BAD_FILE,
    )
