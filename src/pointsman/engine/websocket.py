"""Watch a WebSocket go by: one exchange for the whole, told at its end, with what went each way and how it closed.

The HTTP exchange that opened it is `http1`'s.  Bytes are never touched, so fragments and compression are those of the
two ends.  A stream that is no WebSocket ends the counting and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from pointsman.engine.events import Side
from pointsman.engine.exchange import Exchange
from pointsman.wire.websocket_frames import FrameError, FrameReader, Opcode

METHOD = "WEBSOCKET"
_NO_STATUS = 1005  # RFC 6455 7.4.1: a close frame without a code


class WebSocketObserver:
    def __init__(self, path: str, host: str | None, now: float) -> None:
        self._path = path
        self._host = host
        self._started = now
        self._readers: Mapping[Side, FrameReader] = {
            Side.DOWNSTREAM: FrameReader(masked=True),
            Side.UPSTREAM: FrameReader(masked=False),
        }
        self._bytes = dict.fromkeys(Side, 0)
        self._messages = dict.fromkeys(Side, 0)
        self._frames = dict.fromkeys(Side, 0)
        self._code: int | None = None
        self._closed_by: Side | None = None
        self._lost: str | None = None

    def receive(self, side: Side, data: bytes) -> None:
        self._bytes[side] += len(data)
        if self._lost is not None:
            return
        try:
            for opcode, final, _, payload in self._readers[side].feed(data):
                self._frames[side] += 1
                if opcode < Opcode.CLOSE:
                    self._messages[side] += final
                elif opcode is Opcode.CLOSE and self._code is None:
                    self._closed_by = side
                    self._code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else _NO_STATUS
        except FrameError as error:
            self._lost = str(error)

    def finish(self, now: float, why: str | None, *, refused: str | None = None) -> Exchange:
        """`why`: it was cut off, which is no error once one side has said that it closes.  `refused`: what somebody
        has sent was not passed on, which is one in any case."""
        up, down = Side.DOWNSTREAM, Side.UPSTREAM
        words = [f"{self._messages[up]} messages up, {self._messages[down]} down"]
        words.append(f"{self._frames[up]} and {self._frames[down]} frames")
        if self._code is not None:
            words.append(f"closed by the {'app' if self._closed_by is up else 'origin'} with {self._code}")
        if self._lost is not None:
            words.append(f"not followed to the end: {self._lost}")
        error = refused
        if error is None and self._code is None:
            error = why or "closed without a close frame"
        return Exchange(
            method=METHOD,
            path=self._path,
            host=self._host,
            status=None,
            bytes_up=self._bytes[up],
            bytes_down=self._bytes[down],
            started=self._started,
            ended=now,
            error=error,
            note=", ".join(words),
        )
