"""The way through a chain of proxies, on one connection: greet each, ask it for the next, and carry on inside.

Sans-I/O.  Bytes from the first proxy come in, bytes for it go out; when `done`, what remains is a tunnel to the
destination.  A proxy that is spoken to in TLS adds a layer that stays: then every later byte goes through `wrap` and
`unwrap`.  It must not know why a chain was chosen, nor what becomes of one that fails.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from enum import Enum, auto

from pointsman.engine.tls import TlsError, TlsSide
from pointsman.policy.upstreams import Chain, Credentials, Hop, Speaks
from pointsman.wire import http_connect, socks5
from pointsman.wire.proxy_error import ProxyError

RECEIVE_LIMIT = 64 * 1024  # bytes that a proxy may have said and we have not understood
ProxyTls = Callable[[], ssl.SSLContext]
"""The client context for TLS with a proxy: it verifies, and offers no ALPN."""


class HopError(ProxyError):
    """`ProxyError` that says which proxy of the chain it was."""

    def __init__(self, hop: Hop, error: ProxyError, *, is_last: bool) -> None:
        super().__init__(f"{hop}: {error}", about_target=error.about_target and is_last)


class TlsLayers:
    """TLS to proxies, one inside the other; outermost first.  Without any, bytes pass as they are."""

    def __init__(self) -> None:
        self._sides: list[TlsSide] = []

    def __bool__(self) -> bool:
        return bool(self._sides)

    def add(self, side: TlsSide) -> None:
        self._sides.append(side)

    def wrap(self, data: bytes) -> bytes:
        """Plaintext to bytes of the wire.  Raises TlsError."""
        for side in reversed(self._sides):
            data = side.encrypt(data) if data else side.outgoing.read()
        return data

    def unwrap(self, data: bytes) -> bytes:
        """Bytes of the wire to plaintext, as far as there are whole records.  Raises TlsError."""
        for side in self._sides:
            data = side.decrypt(data)
        return data

    def close(self) -> bytes:
        """close_notify of the innermost; the bytes of the wire for it."""
        if not self._sides:
            return b""
        self._sides[-1].close()
        return self.wrap(b"")

    @property
    def closed_by_peer(self) -> bool:
        """One of them has said that nothing follows."""
        return any(side.closed_by_peer for side in self._sides)


class _Step(Enum):
    TLS = auto()
    METHOD = auto()
    PASSWORD = auto()
    REPLY = auto()
    DONE = auto()


class Tunnel:
    def __init__(
        self,
        chain: Chain,
        target: tuple[socks5.Target, int],
        tls: ProxyTls,
        credentials: Mapping[Hop, Credentials],
    ) -> None:
        """`target`: host name or address, and port, that the last proxy is asked for.  `credentials`: of those hops
        that have some."""
        self._chain = chain
        self._targets: list[tuple[socks5.Target, int]] = [(hop.address or hop.host, hop.port) for hop in chain[1:]]
        self._targets.append(target)
        self._tls = tls
        self._credentials = credentials
        self._at = 0
        self._step = _Step.DONE
        self._received = b""
        self._out = bytearray()
        self._handshaking: TlsSide | None = None
        self.layers = TlsLayers()

    @property
    def done(self) -> bool:
        return self._at == len(self._chain)

    @property
    def leftover(self) -> bytes:
        """What the destination has said already, once `done`."""
        return self._received

    @property
    def asks_last(self) -> bool:
        """The last proxy has been asked for the destination, and its answer is all that is missing."""
        return self._at == len(self._chain) - 1 and self._step is _Step.REPLY

    def start(self) -> bytes:
        """The first bytes for the first proxy.  Raises HopError."""
        return self._guarded(b"", self._begin)

    def receive(self, data: bytes) -> bytes:
        """Bytes to send.  Raises HopError; then the connection is of no use any more."""
        return self._guarded(data, lambda: None)

    def ended(self) -> HopError:
        """What it means that the proxy closed the connection before there was a tunnel."""
        return self._error(ProxyError("it closed the connection"))

    def _guarded(self, data: bytes, first: Callable[[], None]) -> bytes:
        try:
            first()
            self._received += self.layers.unwrap(data)
            while not self.done and self._advance():
                pass
            if not self.done and self.layers.closed_by_peer:
                raise ProxyError("it closed the connection")
            if not self.done and len(self._received) > RECEIVE_LIMIT:
                raise ProxyError(f"it said more than {RECEIVE_LIMIT} bytes that mean nothing")
        except TlsError as error:
            raise self._error(ProxyError(f"TLS with the proxy: {error}")) from error
        except ProxyError as error:
            raise self._error(error) from error
        except ValueError as error:  # a name that the proxy's language cannot carry
            raise self._error(ProxyError(f"cannot be asked for this: {error}", about_target=True)) from error
        self._out += self.layers.wrap(b"") if self.layers else b""
        out, self._out = bytes(self._out), bytearray()
        return out

    def _error(self, error: ProxyError) -> HopError:
        at = min(self._at, len(self._chain) - 1)
        return HopError(self._chain[at], error, is_last=at == len(self._chain) - 1)

    def _say(self, data: bytes) -> None:
        self._out += self.layers.wrap(data)

    def _begin(self) -> None:
        """Speak to the hop at `_at`, which is connected now."""
        hop = self._chain[self._at]
        if hop.tls:
            self._step = _Step.TLS
            self._handshaking = TlsSide(self._tls(), server_side=False, server_hostname=hop.host)
            self._advance()  # our hello
        else:
            self._ask(hop)

    def _ask(self, hop: Hop) -> None:
        given = self._credentials.get(hop)
        if hop.speaks is Speaks.SOCKS5:
            self._step = _Step.METHOD
            self._say(socks5.greeting(with_password=given is not None))
        else:
            self._step = _Step.REPLY
            pair = (given.user, given.password) if given is not None else None
            self._say(http_connect.connect_request(*self._targets[self._at], pair))

    def _advance(self) -> bool:
        """One step, if the bytes that are here allow it."""
        hop = self._chain[self._at]
        match self._step:
            case _Step.TLS:
                return self._handshake(hop)
            case _Step.METHOD:
                method = socks5.parse_method(self._received)
                return method is not None and self._authenticate(hop, *method)
            case _Step.PASSWORD:
                taken = socks5.parse_authentication(self._received)
                return taken is not None and self._request(taken)
            case _Step.REPLY:
                parse = socks5.parse_reply if hop.speaks is Speaks.SOCKS5 else http_connect.parse_response
                taken = parse(self._received)
                return taken is not None and self._connected(taken)
            case _Step.DONE:
                return False

    def _handshake(self, hop: Hop) -> bool:
        side = self._handshaking
        assert side is not None, "made when the step began"
        side.receive(self._received)
        self._received = b""
        finished = side.handshake()
        if said := side.outgoing.read():
            self._say(said)
        if not finished:
            return False
        self._handshaking = None
        self.layers.add(side)
        self._received = side.decrypt(b"")  # a record that came with the end of the handshake
        self._ask(hop)
        return True

    def _authenticate(self, hop: Hop, method: int, taken: int) -> bool:
        given = self._credentials.get(hop)
        if method == socks5.NO_AUTHENTICATION:
            return self._request(taken)
        if given is None:
            raise ProxyError("it wants user and password (SOCKS 0x02), which were not offered")
        self._received = self._received[taken:]
        self._step = _Step.PASSWORD
        self._say(socks5.authentication(given.user, given.password))
        return True

    def _request(self, taken: int) -> bool:
        self._received = self._received[taken:]
        self._step = _Step.REPLY
        self._say(socks5.connect_request(*self._targets[self._at]))
        return True

    def _connected(self, taken: int) -> bool:
        self._received = self._received[taken:]
        self._at += 1
        self._step = _Step.DONE
        if not self.done:
            self._begin()
        return True
