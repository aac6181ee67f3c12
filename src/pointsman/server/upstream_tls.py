"""TLS client contexts for the origin: the system's roots and those the operator added, always verifying.

One context for each ALPN offer, made once: loading the roots costs more than a handshake.  For each client certificate
that a rule names there is one more of them, made anew when its file has changed; bounded, the least recently used goes.
"""

from __future__ import annotations

import logging
import ssl
import sys
from collections import OrderedDict
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from pointsman.engine.interception import SPOKEN, UpstreamTls
from pointsman.errors import Exit, PointsmanError

_STRICT = (
    ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags.VERIFY_X509_STRICT
    if sys.version_info >= (3, 13)
    else ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
)
"""What Python's own default is."""
CERTIFICATES_LIMIT = 100  # contexts with a client certificate; the roots in one take about 1 MB
_log = logging.getLogger(__name__)


class UpstreamContexts:
    """An `engine.interception.UpstreamTls`."""

    def __init__(
        self, extra_roots: Sequence[Path] = (), *, certificates: Path = Path(), key_log: Path | None = None
    ) -> None:
        """`certificates`: the folder of client certificates; `key_log`: where TLS secrets are written.

        Raises PointsmanError PM452 if a file with roots cannot be used.
        """
        self._extra_roots = tuple(extra_roots)
        self._certificates = certificates
        self._key_log = key_log
        self._with_certificate: OrderedDict[tuple[str, tuple[str, ...]], tuple[tuple[int, int], ssl.SSLContext]] = (
            OrderedDict()
        )
        # Every offer that the engine can make; all are made now so that no connection waits for it.
        offers = [offer for size in range(len(SPOKEN) + 1) for offer in permutations(SPOKEN, size)]
        self._contexts = {alpn: self._make(alpn) for alpn in offers}

    def __call__(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        return self._contexts[alpn]

    def with_certificate(self, name: str) -> UpstreamTls:
        """Contexts that show the certificate in this file to origins that ask for one."""
        return lambda alpn: self._certified(name, alpn)

    def _certified(self, name: str, alpn: tuple[str, ...]) -> ssl.SSLContext:
        path = self._certificates / name
        known = self._with_certificate.get((name, alpn))
        try:
            status = path.stat()
            stamp = status.st_mtime_ns, status.st_ino
            if known is not None and known[0] == stamp:
                self._with_certificate.move_to_end((name, alpn))
                return known[1]
            context = self._make(alpn)
            load_certificate(context, path)
        except OSError as error:  # ssl.SSLError is one
            _log.warning(
                "cannot use the client certificate %s: %s", path, error.strerror or "not a certificate and key"
            )
            return known[1] if known is not None else self._contexts[alpn]
        self._with_certificate[name, alpn] = stamp, context
        self._with_certificate.move_to_end((name, alpn))
        while len(self._with_certificate) > CERTIFICATES_LIMIT:
            self._with_certificate.popitem(last=False)
        return context

    def _make(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        # As ssl.create_default_context, which also obeys SSLKEYLOGFILE.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= _STRICT
        context.load_default_certs()
        if self._key_log is not None:
            context.keylog_filename = str(self._key_log)
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


def load_certificate(context: ssl.SSLContext, path: Path) -> None:
    """Never asks at a terminal.  Raises OSError; ssl.SSLError if it is not certificate and unencrypted key in PEM."""
    context.load_cert_chain(path, password=lambda: b"")


def _unusable(path: Path, error: OSError) -> PointsmanError:
    return PointsmanError(
        f"cannot use the upstream CA file {path}",
        code="PM452",
        seen=f"{error.strerror or error}",
        effect="the proxy does not start; nothing is intercepted (fail open)",
        do="name a file with certificates in PEM",
        status=Exit.BAD_FILE,
    )
