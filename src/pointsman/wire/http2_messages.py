"""Whole HTTP/2 frames in and out, for who ends a connection and does not only look on (RFC 9113 4 and 6).

Pure.  `http2_frames` counts DATA and never copies it; here every payload comes whole, so frames are bounded by what we
have announced.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum

from pointsman.wire.http2_frames import END_HEADERS, END_STREAM, HEADER_SIZE, PADDED, PREFACE, PRIORITY_FLAG, FrameType

FRAME_LIMIT = 16384  # bytes of a payload that we take: the smallest that RFC 9113 allows to announce
WINDOW_LIMIT = (1 << 31) - 1
DEFAULT_WINDOW = 65535
ACK = 0x1


class ErrorCode(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8


class Http2Error(Exception):
    """The connection cannot go on; GOAWAY with this code is what the peer gets."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


Frame = tuple[int, int, int, bytes]
"""Type, flags, stream, payload."""


class FrameSplitter:
    def __init__(self, *, preface: bool) -> None:
        """`preface`: the peer is a client, which begins with one."""
        self._kept = bytearray()
        self._preface = preface

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Raises Http2Error, and is of no use then."""
        kept = self._kept
        kept += data
        if self._preface:
            if not PREFACE.startswith(bytes(kept[: len(PREFACE)])):
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "no connection preface")
            if len(kept) < len(PREFACE):
                return
            del kept[: len(PREFACE)]
            self._preface = False
        whole, at, end = bytes(kept), 0, len(kept)
        try:
            while end - at >= HEADER_SIZE:
                size = int.from_bytes(whole[at : at + 3], "big")
                if size > FRAME_LIMIT:
                    raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
                begin = at + HEADER_SIZE
                if begin + size > end:
                    return
                stream = int.from_bytes(whole[at + 5 : at + 9], "big") & 0x7FFF_FFFF
                at = begin + size
                yield whole[begin - 6], whole[begin - 5], stream, whole[begin:at]
        finally:
            del kept[:at]


def write_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def write_settings(values: Iterable[tuple[int, int]]) -> bytes:
    payload = b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in values)
    return write_frame(FrameType.SETTINGS, 0, 0, payload)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    if len(payload) % 6:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "half a setting")
    return [
        (int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
        for at in range(0, len(payload), 6)
    ]


def write_headers(stream: int, block: bytes, frame_size: int, *, end_stream: bool) -> bytes:
    """HEADERS, and CONTINUATION as far as it is needed."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= frame_size:
        return write_frame(FrameType.HEADERS, flags | END_HEADERS, stream, block)
    parts = [block[at : at + frame_size] for at in range(0, len(block), frame_size)]
    frames = [write_frame(FrameType.HEADERS, flags, stream, parts[0])]
    for part in parts[1:-1]:
        frames.append(write_frame(FrameType.CONTINUATION, 0, stream, part))
    frames.append(write_frame(FrameType.CONTINUATION, END_HEADERS, stream, parts[-1]))
    return b"".join(frames)


def unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def header_part(flags: int, payload: bytes, stream: int) -> bytes:
    """Of HEADERS: without padding and the old priority."""
    part = unpadded(flags, payload)
    if not flags & PRIORITY_FLAG:
        return part
    if len(part) < 5:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "half a priority")
    if int.from_bytes(part[:4], "big") & 0x7FFF_FFFF == stream:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
    return part[5:]
