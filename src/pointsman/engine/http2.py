"""Watch HTTP/2 go by: one exchange for each stream comes out, the frames themselves are never touched.

The two ends speak to each other through us, frame by frame as sent, so flow control, priorities and settings are
theirs.  Only header blocks are decoded, for the record.  Like `http1` it may stop at any time (an error, a bound):
what was open stays open until the connection ends, and the traffic goes on without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.engine.events import DOWNSTREAM, UPSTREAM, Side
from pointsman.engine.exchange import Exchange
from pointsman.engine.flow_record import PATH_LIMIT
from pointsman.wire.hpack import Decoder, Field, HpackError
from pointsman.wire.http2_frames import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITY_FLAG,
    READ,
    FrameError,
    FrameReader,
    FrameType,
)
from pointsman.wire.http_head import host_of_authority

STREAMS_LIMIT = 1000  # open at once; servers allow 100 to 250
BLOCK_LIMIT = 256 * 1024  # bytes of one header block in all its frames
CONTINUATIONS_LIMIT = 64  # frames of one header block
NO_ERROR = 0
_ERRORS = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip


@dataclass(slots=True)
class _Stream:
    started: float
    method: str = ""
    path: str = ""
    host: str | None = None
    status: int | None = None
    up: int = 0
    down: int = 0
    request_ended: bool = False
    response_ended: bool = False


class _Direction:
    """What one side sends."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.frames = FrameReader(preface=side is DOWNSTREAM)
        self.fields = Decoder()
        self.block: _Block | None = None


@dataclass(slots=True)
class _Block:
    """A header block whose END_HEADERS has not come."""

    stream: int
    data: bytearray
    ends_stream: bool
    promised_by: int | None
    continuations: int = 0


class Http2Observer:
    def __init__(self) -> None:
        self.seen_request = False
        self.watching = True
        self._now = 0.0
        self._up = _Direction(DOWNSTREAM)
        self._down = _Direction(UPSTREAM)
        self._streams: dict[int, _Stream] = {}
        self.done: list[Exchange] = []
        self._hosts: tuple[bytes, str | None] = (b"", None)

    def receive(self, side: Side, data: bytes, now: float) -> None:
        """`side` is where the bytes came from."""
        if not self.watching:
            return
        self._now = now
        direction = self._up if side is DOWNSTREAM else self._down
        try:
            for kind, flags, stream, size, payload in direction.frames.feed(data):
                if stream:
                    self._count(side, stream, size)
                if kind == FrameType.DATA:
                    if flags & END_STREAM:
                        self._ended(side, stream)
                elif kind in READ:
                    self._frame(direction, kind, flags, stream, payload)
        except (FrameError, HpackError, IndexError):
            # Not HTTP/2 as we read it, or more than we follow.  The peers may understand each other all the same.
            self.watching = False

    def end(self, side: Side, now: float) -> None:
        """No more bytes from this side; what it leaves open is told by `cut`."""

    def cut(self, now: float, why: str) -> None:
        self._now = now
        for number in list(self._streams):
            self._finish(number, why)

    def take(self) -> list[Exchange]:
        """Exchanges finished since the last call."""
        done, self.done = self.done, []
        return done

    def _count(self, side: Side, number: int, size: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        if side is DOWNSTREAM:
            stream.up += size
        else:
            stream.down += size

    def _frame(self, direction: _Direction, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if direction.block is not None and kind != FrameType.CONTINUATION:
            raise FrameError("a header block is interrupted")
        if kind == FrameType.HEADERS:
            block = _Block(stream, bytearray(_headers_part(flags, payload)), bool(flags & END_STREAM), None)
            self._block(direction, block, flags)
        elif kind == FrameType.CONTINUATION:
            self._continue(direction, flags, stream, payload)
        elif kind == FrameType.PUSH_PROMISE:
            part = _unpadded(flags, payload)
            promised = int.from_bytes(part[:4], "big") & 0x7FFF_FFFF
            self._block(direction, _Block(promised, bytearray(part[4:]), True, stream), flags)
        elif kind == FrameType.RST_STREAM:
            self._reset(direction.side, stream, int.from_bytes(payload[:4], "big"))
        else:
            self._go_away(
                direction.side, int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF, int.from_bytes(payload[4:8], "big")
            )

    def _continue(self, direction: _Direction, flags: int, stream: int, payload: bytes) -> None:
        block = direction.block
        if block is None or stream != (block.stream if block.promised_by is None else block.promised_by):
            raise FrameError("CONTINUATION of nothing")
        block.continuations += 1
        block.data += payload
        if block.continuations > CONTINUATIONS_LIMIT or len(block.data) > BLOCK_LIMIT:
            raise FrameError("an endless header block")
        self._block(direction, block, flags)

    def _block(self, direction: _Direction, block: _Block, flags: int) -> None:
        if not flags & END_HEADERS:
            direction.block = block
            return
        direction.block = None
        fields = direction.fields.decode(bytes(block.data))
        if direction.side is DOWNSTREAM or block.promised_by is not None:
            self._request(block, fields)
        else:
            self._response(block, fields)

    def _request(self, block: _Block, fields: tuple[Field, ...]) -> None:
        stream = self._streams.get(block.stream)
        if stream is None:
            if len(self._streams) >= STREAMS_LIMIT:
                raise FrameError("too many open streams")
            stream = self._streams[block.stream] = _Stream(self._now, up=len(block.data))
            for name, value in fields:
                if name == b":method":
                    stream.method = value[:32].decode("latin-1")
                elif name == b":path":
                    stream.path = value[:PATH_LIMIT].decode("latin-1")
                elif name == b":authority" or (name == b"host" and stream.host is None):
                    stream.host = self._host(value)
            self.seen_request = True
        # Otherwise it is the trailers.
        if block.ends_stream:
            self._ended(DOWNSTREAM, block.stream)

    def _response(self, block: _Block, fields: tuple[Field, ...]) -> None:
        stream = self._streams.get(block.stream)
        if stream is None:
            return  # reset by the app, which is no reason for the origin to have known it already
        if fields and fields[0][0] == b":status" and fields[0][1].isdigit():
            stream.status = int(fields[0][1][:3])  # an interim one is replaced by what follows it
        if block.ends_stream:
            self._ended(UPSTREAM, block.stream)

    def _ended(self, side: Side, number: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        if side is DOWNSTREAM:
            stream.request_ended = True
        else:
            stream.response_ended = True
        if stream.request_ended and stream.response_ended:
            self._finish(number, None)

    def _reset(self, side: Side, number: int, code: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        whole = stream.response_ended and code == NO_ERROR  # RFC 9113 8.1: the rest of the request is not needed
        who = "app" if side is DOWNSTREAM else "origin"
        self._finish(number, None if whole else f"reset by the {who} ({_error(code)})")

    def _go_away(self, side: Side, last: int, code: int) -> None:
        """Of the streams that the other side has begun (the app odd ones), those above `last` were not looked at."""
        parity = 1 if side is UPSTREAM else 0
        for number in [number for number in self._streams if number > last and number % 2 == parity]:
            self._finish(number, f"not processed: the connection goes away ({_error(code)})")

    def _finish(self, number: int, error: str | None) -> None:
        stream = self._streams.pop(number)
        self.done.append(
            Exchange(
                method=stream.method,
                path=stream.path,
                host=stream.host,
                status=stream.status,
                bytes_up=stream.up,
                bytes_down=stream.down,
                started=stream.started,
                ended=self._now,
                error=error,
            )
        )

    def _host(self, value: bytes) -> str | None:
        if value != self._hosts[0]:  # one look at a name serves the whole connection
            self._hosts = value, host_of_authority(value.decode("latin-1"))
        return self._hosts[1]


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    padding = payload[0]
    if padding >= len(payload):
        raise FrameError("more padding than frame")
    return payload[1 : len(payload) - padding]


def _headers_part(flags: int, payload: bytes) -> bytes:
    part = _unpadded(flags, payload)
    return part[5:] if flags & PRIORITY_FLAG else part


def _error(code: int) -> str:
    return _ERRORS[code] if code < len(_ERRORS) else f"error 0x{code:x}"
