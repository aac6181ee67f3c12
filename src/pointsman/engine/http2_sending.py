"""What goes out on one side of an HTTP/2 connection: control frames at once, DATA as the peer's windows let it.

Streams take turns, a frame each.  What does not fit waits; whoever fills these queues looks at `queued` before it takes
more.  While the socket is congested no DATA is made, and control frames are counted: a peer that asks for answers
(PING, SETTINGS, resets) and does not read them is cut off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from pointsman.wire.hpack import Field
from pointsman.wire.hpack_encoder import SECRET, Encoder
from pointsman.wire.http2_frames import END_STREAM, FrameType
from pointsman.wire.http2_messages import (
    DEFAULT_WINDOW,
    WINDOW_LIMIT,
    ErrorCode,
    Http2Error,
    write_frame,
    write_headers,
)

CONTROL_LIMIT = 256 * 1024  # bytes of control frames that nobody reads

PIECE = 64 * 1024  # bytes


@dataclass(slots=True)
class _Outgoing:
    window: int
    queue: deque[bytes] = field(default_factory=deque)
    queued: int = 0
    ends: bool = False
    """With what is queued."""
    trailers: tuple[Field, ...] | None = None
    """Encoded when they are sent: HPACK goes by the order on the wire."""
    done: bool = False
    """END_STREAM was sent."""


class Sending:
    def __init__(self) -> None:
        self.encoder = Encoder()
        self.frame_size = 16384
        self.congested = False
        self._window = DEFAULT_WINDOW
        self._streams: dict[int, _Outgoing] = {}
        self._ready: dict[int, None] = {}
        """Streams with something to send that their own window lets out, in their order."""
        self._out: list[bytes] = []
        self._unread = 0

    def take(self) -> bytes:
        """All that may be sent now.  Raises Http2Error if the peer asks for more than it reads."""
        if self._ready and not self.congested:
            self._send_data()
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def control(self, frame: bytes) -> None:
        self._out.append(frame)
        if self.congested:
            self._unread += len(frame)
            if self._unread > CONTROL_LIMIT:
                raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "answers that nobody reads")

    def drained(self) -> None:
        self.congested, self._unread = False, 0

    def open(self, number: int, window: int) -> None:
        self._streams[number] = _Outgoing(window)

    def close(self, number: int) -> None:
        self._streams.pop(number, None)

    def is_done(self, number: int) -> bool:
        stream = self._streams.get(number)
        return stream is None or stream.done

    def queued(self, number: int) -> int:
        """Bytes of DATA that wait."""
        stream = self._streams.get(number)
        return stream.queued if stream is not None else 0

    def headers(self, number: int, fields: Iterable[Field], *, end: bool, secret: Collection[bytes] = SECRET) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.done:
            return
        stream.done = end
        self.control(write_headers(number, self.encoder.encode(fields, secret), self.frame_size, end_stream=end))

    def data(self, number: int, data: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.ends or not data:
            return
        if len(data) <= PIECE:
            stream.queue.append(data)
        else:  # cutting a frame off a long piece would copy all the rest, each time
            stream.queue.extend(data[at : at + PIECE] for at in range(0, len(data), PIECE))
        stream.queued += len(data)
        self._ready[number] = None

    def end(self, number: int, trailers: Iterable[Field] | None) -> None:
        """After what is queued."""
        stream = self._streams.get(number)
        if stream is None or stream.ends or stream.done:
            return
        stream.ends = True
        if trailers is not None:
            stream.trailers = tuple(trailers)
        self._ready[number] = None

    def reset(self, number: int, code: ErrorCode) -> None:
        self.close(number)
        self.control(write_frame(FrameType.RST_STREAM, 0, number, int(code).to_bytes(4, "big")))

    def widen(self, number: int, size: int) -> bool:
        """False: the window would be too large."""
        if number == 0:
            self._window += size
            return self._window <= WINDOW_LIMIT
        stream = self._streams.get(number)
        if stream is None:
            return True  # closed; the update was on its way
        stream.window += size
        if stream.queue:
            self._ready[number] = None
        return stream.window <= WINDOW_LIMIT

    def widen_all(self, size: int) -> bool:
        fits = [self.widen(number, size) for number in self._streams]
        return all(fits)

    def _send_data(self) -> None:
        """A frame of each stream in turn, until the windows are closed or nothing is left."""
        while self._ready:
            sent = False
            for number in list(self._ready):
                stream = self._streams.get(number)
                if stream is None or (stream.queue and stream.window <= 0):
                    del self._ready[number]  # `widen` brings it back
                elif stream.queue and self._window <= 0:
                    continue
                else:
                    sent = True
                    self._send_frame(number, stream)
                    if not stream.queue:
                        del self._ready[number]
            if not sent:
                return

    def _send_frame(self, number: int, stream: _Outgoing) -> None:
        if stream.queue:
            data = stream.queue[0]
            room = min(stream.window, self._window, self.frame_size)
            if len(data) > room:
                stream.queue[0] = data[room:]
                data = data[:room]
            else:
                stream.queue.popleft()
            stream.window -= len(data)
            self._window -= len(data)
            stream.queued -= len(data)
            is_last = stream.ends and not stream.queue and stream.trailers is None
            self._out.append(write_frame(FrameType.DATA, END_STREAM if is_last else 0, number, data))
            stream.done = is_last
        if stream.ends and not stream.queue and not stream.done:
            stream.done = True
            if stream.trailers is not None:
                block = self.encoder.encode(stream.trailers)
                self._out.append(write_headers(number, block, self.frame_size, end_stream=True))
            else:
                self._out.append(write_frame(FrameType.DATA, END_STREAM, number))
