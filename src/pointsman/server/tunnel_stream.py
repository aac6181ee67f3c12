"""A stream inside TLS with a proxy: the same calls as any stream, the bytes through `engine.upstream.TlsLayers`.

It stands between a socket's stream, whose owner it is, and the owner of the connection.  It decides nothing.
"""

from __future__ import annotations

import socket

from pointsman.engine.events import Side
from pointsman.engine.tls import TlsError
from pointsman.engine.upstream import TlsLayers
from pointsman.server.stream import Owner, Stream, open_stream


class TunnelStream:
    """Implements `stream.Stream` upwards and `stream.Owner` downwards; it is always the upstream side."""

    def __init__(self, layers: TlsLayers, owner: Owner) -> None:
        self._layers = layers
        self._owner = owner
        self._inner: Stream | None = None
        self._ended = False
        self._error: Exception | None = None

    @classmethod
    async def open(cls, connection: socket.socket, layers: TlsLayers, owner: Owner) -> TunnelStream:
        """`connection` is ours from now on."""
        stream = cls(layers, owner)
        stream._inner = await open_stream(connection, Side.UPSTREAM, stream)
        return stream

    # What the engine asks for.

    @property
    def queued(self) -> int:
        return self._here.queued

    def write(self, data: bytes) -> None:
        if self._error is not None:
            return
        try:
            wire = self._layers.wrap(data)
        except TlsError as error:
            self._fail(error)
            return
        if wire:
            self._here.write(wire)

    def end(self) -> None:
        self._say_close()
        self._here.end()

    def pause(self) -> None:
        self._here.pause()

    def resume(self) -> None:
        self._here.resume()

    def close(self) -> None:
        self._say_close()
        self._here.close()

    def abort(self) -> None:
        self._here.abort()

    # What the socket's stream tells.

    def received(self, side: Side, data: bytes) -> None:
        if self._error is not None:
            return
        try:
            plaintext = self._layers.unwrap(data)
            answer = self._layers.wrap(b"")  # a key update, for instance
        except TlsError as error:
            self._fail(error)
            return
        if answer:
            self._here.write(answer)
        if plaintext:
            self._owner.received(side, plaintext)
        if self._layers.closed_by_peer:
            self.ended(side)

    def ended(self, side: Side) -> None:
        if not self._ended:
            self._ended = True
            self._owner.ended(side)

    def congested(self, side: Side) -> None:
        self._owner.congested(side)

    def drained(self, side: Side) -> None:
        self._owner.drained(side)

    def side_closed(self, side: Side, error: Exception | None) -> None:
        self._owner.side_closed(side, self._error or error)

    @property
    def _here(self) -> Stream:
        assert self._inner is not None, "`open` returns when the stream is here"
        return self._inner

    def _say_close(self) -> None:
        if self._error is None:
            try:
                farewell = self._layers.close()
            except TlsError as error:
                self._fail(error)
                return
            if farewell:
                self._here.write(farewell)

    def _fail(self, error: TlsError) -> None:
        """The socket's stream tells the owner, in the next turn of the loop."""
        self._error = ConnectionError(f"TLS with the upstream proxy: {error}")
        self._here.abort()
