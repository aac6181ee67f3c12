"""TLS on one side of a connection, in memory: bytes of the wire in and out, plaintext in and out.

A thin layer over `ssl.SSLObject` with two memory BIOs.  It decides nothing; it only names the ways in which OpenSSL
says "later", "closed", "cut off" and "refused".
"""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from pointsman.wire.tls_alert import Alert

READ_SIZE = 16 * 1024  # bytes; the most that a record of TLS has, so a read leaves nothing of one behind
PIECE = 64 * 1024  # bytes; a memory BIO keeps a third more than the most it ever held, for as long as it lives

SESSION_READS_LEAK: Final = sys.version_info < (3, 12, 7) or (3, 13) <= sys.version_info < (3, 13, 1)
"""Each read of a session loses a copy of it, which nothing can free (python/cpython#116810; 3.11 gets no mend)."""

# X509_V_ERR_* of OpenSSL's x509_vfy.h that have an alert of their own (RFC 8446 6.2).
_VERIFY_ALERTS: Final = {
    2: Alert.UNKNOWN_CA,  # unable to get issuer certificate
    9: Alert.CERTIFICATE_EXPIRED,  # not yet valid
    10: Alert.CERTIFICATE_EXPIRED,
    18: Alert.UNKNOWN_CA,  # self-signed
    19: Alert.UNKNOWN_CA,  # self-signed in the chain
    20: Alert.UNKNOWN_CA,  # unable to get local issuer
    21: Alert.UNKNOWN_CA,  # unable to verify the leaf
    23: Alert.CERTIFICATE_REVOKED,
}


class TlsError(Exception):
    """This side cannot go on.  `alert` is what an honest server would tell its client about it."""

    def __init__(
        self, reason: str, alert: Alert, *, refused_by_peer: str | None = None, invalid_certificate: bool = False
    ) -> None:
        super().__init__(reason)
        self.alert = alert
        self.invalid_certificate = invalid_certificate
        """The peer's did not pass our verification."""
        self.refused_by_peer = refused_by_peer
        """The alert the peer sent us, if that is what happened, such as `unknown_ca`."""


class CertificateFacts(NamedTuple):
    names: tuple[str, ...] = ()
    """DNS names and addresses."""
    is_revocable: bool = False
    """It names a list of revoked certificates."""


class TlsSide:
    __slots__ = (
        "_closed", "_incoming", "_tls", "_withheld", "closed_by_peer", "context", "established", "outgoing",
    )  # fmt: skip

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.context = context
        self._incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        """Bytes for the wire, behind those withheld: to be had by `take`."""
        self._withheld = b""
        self._tls = context.wrap_bio(
            self._incoming, self.outgoing, server_side=server_side, server_hostname=server_hostname, session=session
        )
        self.established = False
        self.closed_by_peer = False
        """close_notify has come: what was read is all there is."""
        self._closed = False

    def withhold(self) -> None:
        """A server's handshake is done.  In TLS 1.3 what is to go out now are session tickets, which no client waits
        for: one that closes with them unread makes its kernel send RST instead of FIN, and what it had sent last may be
        lost.  So they travel with the first data, which is read or makes no difference."""
        if self._tls.version() == "TLSv1.3":
            self._withheld = self.outgoing.read()

    def take(self) -> bytes:
        """Everything for the wire, in order, except for what waits for data or `close`."""
        if self._withheld and not self.outgoing.pending:
            return b""
        withheld, self._withheld = self._withheld, b""
        return withheld + self.outgoing.read()

    def receive(self, data: bytes) -> None:
        """Bytes of the wire; `handshake` or `read` look at them."""
        self._incoming.write(data)

    def handshake(self) -> bool:
        """Go as far as the bytes allow; True once it is done.  Raises TlsError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            alert = _VERIFY_ALERTS.get(error.verify_code, Alert.BAD_CERTIFICATE)
            reason = f"certificate not valid: {error.verify_message}"
            raise TlsError(reason, alert, invalid_certificate=True) from error
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise _failed(error) from error
        self.established = True
        return True

    def decrypt(self, data: bytes) -> bytes:
        """All plaintext that is here once `data` has come.  Raises TlsError."""
        incoming = self._incoming
        try:
            if len(data) > PIECE:
                return self._decrypt_long(data)
            incoming.write(data)
            plaintext = self._tls.read(READ_SIZE)
            # A read gives a record at most, so if this was the last nothing is left; to ask would cost an exception.
            if plaintext and not incoming.pending:
                return plaintext
            parts: list[bytes] = []
            self._decrypt_on(plaintext, parts)
            return b"".join(parts)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLZeroReturnError:
            self.closed_by_peer = True  # close_notify after ours
            return b""
        except ssl.SSLError as error:
            raise _failed(error) from error

    def _decrypt_on(self, plaintext: bytes, parts: list[bytes]) -> None:
        """Behind the first record.  Raises ssl.SSLError, but not for what does not matter once there is plaintext."""
        incoming, read = self._incoming, self._tls.read
        try:
            while plaintext:
                parts.append(plaintext)
                if not incoming.pending:
                    return
                plaintext = read(READ_SIZE)
            self.closed_by_peer = True  # b"" is close_notify while we have not sent ours
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed_by_peer = True

    def _decrypt_long(self, data: bytes) -> bytes:
        """Piece by piece, so that no more than that is ever in the BIO."""
        parts: list[bytes] = []
        for piece in _pieces(data):
            self._incoming.write(piece)
            try:
                plaintext = self._tls.read(READ_SIZE)
            except ssl.SSLWantReadError:
                continue
            self._decrypt_on(plaintext, parts)
        return b"".join(parts)

    def encrypt(self, data: bytes) -> bytes:
        """What goes over the wire for `data`, which is not empty, and whatever else waited.  Raises TlsError.

        Never waits: a memory BIO takes everything, and renegotiation is off.
        """
        try:
            if len(data) > PIECE:
                return self._encrypt_long(data)
            sent = self._tls.write(data)
            while sent < len(data):
                sent += self._tls.write(memoryview(data)[sent:])
        except ssl.SSLError as error:
            raise _failed(error) from error
        return self.take() if self._withheld else self.outgoing.read()

    def _encrypt_long(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        for piece in _pieces(data):
            sent = self._tls.write(piece)
            while sent < len(piece):
                sent += self._tls.write(piece[sent:])
            parts.append(self.take())
        return b"".join(parts)

    def let_go(self) -> None:
        """Of what reading a session ticket leaves behind, 16 kB of room for writing, until something is written (seen
        with OpenSSL 3.0, not with 3.5).  Nothing is, and SSL_MODE_RELEASE_BUFFERS, which Python sets, does the rest."""
        with suppress(ssl.SSLError):
            self._tls.write(b"")

    def close(self) -> None:
        """Send close_notify.  What the peer still sends can be read on (RFC 8446 6.1)."""
        if self._closed or not self.established:
            return
        self._closed = True
        # Want-read: the peer has not closed yet, which is its right.  Anything else: it sent data after our
        # close_notify, or has failed; ours is on its way in any case.
        with suppress(ssl.SSLError):
            self._tls.unwrap()

    def session(self) -> ssl.SSLSession | None:
        """What would make the next handshake with this server a short one.  In TLS 1.3 it comes with first data.

        Not for each connection: see SESSION_READS_LEAK.
        """
        return self._tls.session

    def resumed(self) -> bool:
        return bool(self._tls.session_reused)

    def alpn(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    def version(self) -> str | None:
        return self._tls.version()

    def cipher(self) -> str | None:
        chosen = self._tls.cipher()
        return chosen[0] if chosen is not None else None

    def certificate(self) -> bytes:
        """The peer's verified certificate, in DER; empty if it has none."""
        return self._tls.getpeercert(binary_form=True) or b""

    def certificate_facts(self) -> CertificateFacts:
        """Of the peer's verified certificate."""
        certificate = self._tls.getpeercert() or {}
        names: list[str] = []
        for entry in certificate.get("subjectAltName", ()):
            if len(entry) == 2 and entry[0] in ("DNS", "IP Address"):
                names.append(str(entry[1]).strip())
        return CertificateFacts(tuple(names), "crlDistributionPoints" in certificate)


def _pieces(data: bytes) -> Iterator[memoryview]:
    whole = memoryview(data)
    for at in range(0, len(whole), PIECE):
        yield whole[at : at + PIECE]


def _failed(error: Exception) -> TlsError:
    reason = getattr(error, "reason", None)
    if reason is None:  # CPython has no name for some, such as no_application_protocol; OpenSSL's words are in the text
        text = str(error.args[-1] if error.args else error)
        reason = re.sub(r"^\[SSL\] | \(_ssl\.c:\d+\)$", "", text).upper().replace(" ", "_")
    reason = str(reason)
    _, is_alert, name = reason.partition("ALERT_")
    refused = name.lower() if is_alert else None
    words = f"the peer sent the alert {refused}" if refused else reason.lower().replace("_", " ")
    return TlsError(words, Alert.HANDSHAKE_FAILURE, refused_by_peer=refused)
