"""One side of an HTTP/2 connection that ends here: frames, HPACK, settings, flow control, the life of streams.

It says what came (events) and sends what it is told, as far as the peer's windows let it; the rest waits in queues that
its owner keeps short by giving credit (`credit`) only for what has gone on.  It must not know what a request is.
Priorities are read and ignored, pushes are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pointsman.engine.http2_sending import Sending
from pointsman.wire.hpack import DEFAULT_TABLE_SIZE, Decoder, Field, HpackError
from pointsman.wire.http2_frames import END_HEADERS, END_STREAM, PREFACE, FrameType
from pointsman.wire.http2_messages import (
    ACK,
    DEFAULT_WINDOW,
    WINDOW_LIMIT,
    ErrorCode,
    FrameSplitter,
    Http2Error,
    Setting,
    header_part,
    read_settings,
    unpadded,
    write_frame,
    write_settings,
)

STREAM_WINDOW = 512 * 1024  # bytes of one stream that a peer may send ahead
CONNECTION_WINDOW = 4 * 1024 * 1024  # bytes of all streams
STREAMS_LIMIT = 100  # streams that a peer may have open
BLOCK_LIMIT = 256 * 1024  # bytes of one header block in all its frames
CONTINUATIONS_LIMIT = 64  # frames of one header block
CLOSED_LIMIT = 1000  # streams that are no more, and are known to have been there
RESETS_BURST = 500  # streams that a client may reset or make us reset, and
RESETS_RATE = 50.0  # so many a second after that
EMPTY_LIMIT = 1000  # frames of DATA with nothing in them, in one connection


@dataclass(frozen=True, slots=True)
class HeadersCame:
    stream: int
    fields: tuple[Field, ...]
    ends: bool
    is_first: bool
    """Of this stream."""


@dataclass(frozen=True, slots=True)
class DataCame:
    stream: int
    data: bytes
    ends: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    stream: int
    code: int


@dataclass(frozen=True, slots=True)
class WentAway:
    last: int
    code: int


@dataclass(frozen=True, slots=True)
class SettingsCame:
    values: dict[int, int]


Event = HeadersCame | DataCame | StreamReset | WentAway | SettingsCame


@dataclass(slots=True)
class _Stream:
    window: int = STREAM_WINDOW
    """Bytes that the peer may still send."""
    owed: int = 0
    """Bytes received for which no credit was given."""
    ended: bool = False
    """By the peer."""


class Http2End:
    def __init__(self, *, is_server: bool) -> None:
        self._is_server = is_server
        self._splitter = FrameSplitter(preface=is_server)
        self._decoder = Decoder(largest=DEFAULT_TABLE_SIZE)  # we announce no other
        self._streams: dict[int, _Stream] = {}
        self._closed: dict[int, bool] = {}
        """The last streams that are no more, and whether we ended them: then frames may still be on the way."""
        self._highest = 0
        """Stream that a client peer has opened, or we have."""
        self._window = CONNECTION_WINDOW
        self._owed = 0
        self._block: tuple[int, bool, bytearray, int] | None = None
        """Stream, whether it ends it, the bytes and the CONTINUATION frames of a header block that is not whole."""
        self._resets = float(RESETS_BURST)
        self._resets_since = 0.0
        self._empty = 0
        self._got_settings = False
        self.peer: dict[int, int] = {}
        """The peer's settings."""
        self.sending = Sending()

    def begin(self, extra: Sequence[tuple[int, int]] = ()) -> None:
        """Our preface."""
        values = [(int(Setting.INITIAL_WINDOW_SIZE), STREAM_WINDOW), (int(Setting.MAX_HEADER_LIST_SIZE), BLOCK_LIMIT)]
        if self._is_server:
            values.append((int(Setting.MAX_CONCURRENT_STREAMS), STREAMS_LIMIT))
        else:
            self.sending.control(PREFACE)
            values.append((int(Setting.ENABLE_PUSH), 0))
        self.sending.control(write_settings([*values, *extra]))
        ahead = CONNECTION_WINDOW - DEFAULT_WINDOW
        self.sending.control(write_frame(FrameType.WINDOW_UPDATE, 0, 0, ahead.to_bytes(4, "big")))

    def announce(self, values: Sequence[tuple[int, int]]) -> None:
        """More settings of ours."""
        self.sending.control(write_settings(values))

    @property
    def secret(self) -> set[bytes]:
        """Names of fields that the peer wants never indexed."""
        return self._decoder.secret

    @property
    def highest(self) -> int:
        return self._highest

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    # What the peer sends.

    def receive(self, data: bytes, now: float) -> Iterator[Event]:
        """Frame by frame: what comes before an error counts, however TCP has cut it.  Raises Http2Error."""
        for kind, flags, stream, payload in self._splitter.feed(data):
            if not self._got_settings and kind != FrameType.SETTINGS:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            if self._block is not None and kind != FrameType.CONTINUATION:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
            events: list[Event] = []
            self._frame(kind, flags, stream, payload, now, events)
            yield from events

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes, now: float, events: list[Event]) -> None:
        if kind == FrameType.DATA:
            self._data(flags, stream, payload, now, events)
        elif kind == FrameType.HEADERS:
            part = bytearray(header_part(flags, payload, stream))
            self._headers(flags, (stream, bool(flags & END_STREAM), part, 0), events)
        elif kind == FrameType.CONTINUATION:
            self._continuation(flags, stream, payload, events)
        elif kind == FrameType.WINDOW_UPDATE:
            self._window_update(stream, payload, now, events)
        elif kind == FrameType.SETTINGS:
            self._settings(flags, stream, payload, events)
        elif kind == FrameType.PING:
            _check(stream == 0, "a PING of a stream")
            _check_size(len(payload) == 8, "a PING of another size")
            if not flags & ACK:
                self.sending.control(write_frame(FrameType.PING, ACK, 0, payload))
        elif kind == FrameType.RST_STREAM:
            self._reset(stream, payload, now, events)
        elif kind == FrameType.GOAWAY:
            _check(stream == 0, "a GOAWAY of a stream")
            _check_size(len(payload) >= 8, "half a GOAWAY")
            last = int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF
            events.append(WentAway(last, int.from_bytes(payload[4:8], "big")))
        elif kind == FrameType.PRIORITY:
            _check(stream != 0, "a PRIORITY of the connection")
            _check_size(len(payload) == 5, "a PRIORITY of another size")
        elif kind == FrameType.PUSH_PROMISE:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a push that nobody allowed")

    def _data(self, flags: int, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        _check(number != 0, "a body of the connection")
        self._check_not_idle(number)
        self._window -= len(payload)
        stream = self._streams.get(number)
        if self._window < 0 or (stream is not None and stream.window < len(payload)):
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "more bytes than the window lets")
        if stream is None or stream.ended:
            self._data_of_closed(number, stream, len(payload), now, events)
            return
        data = unpadded(flags, payload)
        ends = bool(flags & END_STREAM)
        stream.window -= len(payload)
        stream.owed += len(payload)
        if not data and not ends:
            self._empty += 1
            if self._empty > EMPTY_LIMIT:
                raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many frames with nothing in them")
            return
        stream.ended = ends
        events.append(DataCame(number, data, ends))

    def _data_of_closed(self, number: int, stream: _Stream | None, size: int, now: float, events: list[Event]) -> None:
        """On its way while we reset the stream; or the peer does not keep to what it said itself."""
        if stream is None and self._closed.get(number) is False:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "a body after the end of a stream")
        self._credit_connection(size)
        if stream is not None:
            self._refuse(number, ErrorCode.STREAM_CLOSED, now, events)

    def _headers(self, flags: int, block: tuple[int, bool, bytearray, int], events: list[Event]) -> None:
        _check(block[0] != 0, "headers of the connection")
        if not flags & END_HEADERS:
            self._block = block
            return
        self._block = None
        number, ends, data, _ = block
        try:
            fields = self._decoder.decode(bytes(data))
        except (HpackError, IndexError) as error:
            raise Http2Error(ErrorCode.COMPRESSION_ERROR, f"HPACK: {error}") from error
        stream = self._streams.get(number)
        is_first = False
        if stream is None:
            if not self._is_server or number <= self._highest:
                self._headers_of_closed(number)
                return
            _check(number % 2 == 1, "a stream with an even number")
            self._highest = number
            if len(self._streams) >= STREAMS_LIMIT:
                self._remember_closed(number, by_us=True)
                self.sending.reset(number, ErrorCode.REFUSED_STREAM)
                return
            stream = self._streams[number] = _Stream()
            self.sending.open(number, self.peer.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW))
            is_first = True
        elif stream.ended:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "headers after the end of a stream")
        stream.ended = ends
        events.append(HeadersCame(number, fields, ends, is_first))

    def _headers_of_closed(self, number: int) -> None:
        """As `_data_of_closed`."""
        self._check_not_idle(number)
        by_us = self._closed.get(number)
        if by_us is False:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "headers after the end of a stream")
        if by_us is None and self._is_server:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream that was passed over")

    def _continuation(self, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        if self._block is None or number != self._block[0]:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        _, ends, data, count = self._block
        data += payload
        if count >= CONTINUATIONS_LIMIT or len(data) > BLOCK_LIMIT:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "an endless header block")
        self._headers(flags, (number, ends, data, count + 1), events)

    def _window_update(self, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        _check_size(len(payload) == 4, "a WINDOW_UPDATE of another size")
        self._check_not_idle(number)
        size = int.from_bytes(payload, "big") & 0x7FFF_FFFF
        if number == 0:
            _check(size > 0, "a WINDOW_UPDATE of nothing")
        if not self.sending.widen(number, size) or size == 0:
            if number == 0:
                raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
            self._refuse(number, ErrorCode.FLOW_CONTROL_ERROR if size else ErrorCode.PROTOCOL_ERROR, now, events)

    def _settings(self, flags: int, stream: int, payload: bytes, events: list[Event]) -> None:
        _check(stream == 0, "SETTINGS of a stream")
        self._got_settings = True
        if flags & ACK:
            _check_size(not payload, "an acknowledgement that says more")
            return
        values = read_settings(payload)
        for name, value in values:  # in their order, RFC 9113 6.5.3
            if name in Setting._value2member_map_:
                self._setting(name, value)
                self.peer[name] = value
        self.sending.control(write_frame(FrameType.SETTINGS, ACK, 0))
        events.append(SettingsCame(dict(values)))

    def _setting(self, name: int, value: int) -> None:
        if name == Setting.INITIAL_WINDOW_SIZE:
            more = value - self.peer.get(name, DEFAULT_WINDOW)
            if value > WINDOW_LIMIT or not self.sending.widen_all(more):
                raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
        elif name == Setting.ENABLE_PUSH:
            _check(value == 0 or (value == 1 and self._is_server), "ENABLE_PUSH of another value")
        elif name == Setting.MAX_FRAME_SIZE:
            _check(16384 <= value < 1 << 24, "MAX_FRAME_SIZE of another value")
            self.sending.frame_size = min(value, 65536)
        elif name == Setting.HEADER_TABLE_SIZE:
            self.sending.encoder.resize(value)
        elif name == Setting.ENABLE_CONNECT_PROTOCOL:  # RFC 8441 3
            _check(value in (self.peer.get(name, 0), 1), "ENABLE_CONNECT_PROTOCOL of another value, or taken back")

    def _reset(self, number: int, payload: bytes, now: float, events: list[Event]) -> None:
        _check(number != 0, "an RST_STREAM of the connection")
        _check_size(len(payload) == 4, "an RST_STREAM of another size")
        self._check_not_idle(number)
        self._count_reset(now)
        if self._forget(number, by_us=False):
            events.append(StreamReset(number, int.from_bytes(payload, "big")))

    def _refuse(self, number: int, code: ErrorCode, now: float, events: list[Event]) -> None:
        """The peer has broken a rule that concerns this stream alone."""
        if number not in self._streams:
            return
        self._count_reset(now)  # making us reset is as cheap for a client as resetting
        self.reset(number, code)
        events.append(StreamReset(number, code))

    def _count_reset(self, now: float) -> None:
        """Opened and reset again and again, a stream costs the client nothing."""
        if self._is_server:
            self._resets = min(RESETS_BURST, self._resets + (now - self._resets_since) * RESETS_RATE) - 1
            self._resets_since = now
            if self._resets < 0:
                raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset")

    def _check_not_idle(self, number: int) -> None:
        if number > self._highest:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame of a stream that nobody has opened")

    # What the owner wants.

    def open(self) -> int:
        """A stream of ours; we are the client."""
        self._highest += 1 if self._highest == 0 else 2
        self._streams[self._highest] = _Stream()
        self.sending.open(self._highest, self.peer.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW))
        return self._highest

    def credit(self, number: int) -> None:
        """All that this stream has brought has gone on, or soon will."""
        stream = self._streams.get(number)
        if stream is None or stream.owed == 0:
            return
        owed, stream.owed = stream.owed, 0
        if not stream.ended:
            stream.window += owed
            self.sending.control(write_frame(FrameType.WINDOW_UPDATE, 0, number, owed.to_bytes(4, "big")))
        self._credit_connection(owed)

    def owes(self, number: int) -> int:
        stream = self._streams.get(number)
        return stream.owed if stream is not None else 0

    def reset(self, number: int, code: ErrorCode) -> None:
        """Harmless if it is closed."""
        if self._forget(number, by_us=True):
            self.sending.reset(number, code)

    def close_if_done(self, number: int) -> None:
        """Forget a stream that both sides have ended."""
        stream = self._streams.get(number)
        if stream is not None and stream.ended and self.sending.is_done(number):
            self._forget(number, by_us=False)

    def go_away(self, last: int, code: ErrorCode) -> None:
        payload = last.to_bytes(4, "big") + int(code).to_bytes(4, "big")
        self.sending.control(write_frame(FrameType.GOAWAY, 0, 0, payload))

    def _forget(self, number: int, *, by_us: bool) -> bool:
        stream = self._streams.pop(number, None)
        self.sending.close(number)
        if stream is not None:
            self._remember_closed(number, by_us=by_us)
            self._credit_connection(stream.owed)
        return stream is not None

    def _remember_closed(self, number: int, *, by_us: bool) -> None:
        self._closed[number] = by_us
        if len(self._closed) > CLOSED_LIMIT:
            del self._closed[next(iter(self._closed))]

    def _credit_connection(self, size: int) -> None:
        self._owed += size
        self._window += size
        if self._owed >= CONNECTION_WINDOW // 8:
            owed, self._owed = self._owed, 0
            self.sending.control(write_frame(FrameType.WINDOW_UPDATE, 0, 0, owed.to_bytes(4, "big")))


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, otherwise)


def _check_size(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, otherwise)
