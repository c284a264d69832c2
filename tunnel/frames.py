"""Frames: `type u8 | flags u8 | reserved u16 | stream u32 | payload`, one a WebSocket message."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from tunnel.errors import FrameTooLarge, RemoteError
from tunnel.payload import Buffer

HEADER = struct.Struct("!BBHI")
HEADER_BYTES = HEADER.size
MAX_FRAME_BYTES = 65_535  # a longer WebSocket header and malloc churn begin above (measured)
MAX_DATA_BYTES = MAX_FRAME_BYTES - HEADER_BYTES
MAX_CURSOR_BYTES = 1_024
MAX_HEAD_BYTES = 16_384  # what h11 allows for a whole HTTP head; ours is a subset of one
MAX_HELLO_BYTES = 4_096
MAX_TOKEN_BYTES = 8_192
MAX_OPEN_BYTES = 2 + MAX_HEAD_BYTES + MAX_CURSOR_BYTES
MIN_FRAME_BYTES = HEADER_BYTES + MAX_OPEN_BYTES  # an end accepts at least the longest but DATA
UNIT_BYTES = 65_536
U16 = struct.Struct("!H")
U32 = struct.Struct("!I")
GOAWAY_BODY = struct.Struct("!IH")

FLAG_AUTH_OK = 0x1
FLAG_AUTH_REFUSED = 0x2


class FrameType(enum.IntEnum):
    """What a frame is."""

    HELLO = 1
    AUTH = 2
    OPEN = 3
    HEAD = 4
    DATA = 5
    MARK = 6
    CREDIT = 7
    END = 8
    RESET = 9
    PING = 10
    PONG = 11
    GOAWAY = 12


@dataclass(frozen=True, slots=True)
class Rule:
    """What is well-formed for one frame type, whatever the state.

    Args:
        on_stream: whether the stream id must be non-zero (else zero).
        low_bytes: shortest payload.
        high_bytes: longest payload.
        flags: the flags that may be set, one at a time.
    """

    on_stream: bool
    low_bytes: int
    high_bytes: int
    flags: tuple[int, ...] = (0,)


RULES: dict[int, Rule] = {
    FrameType.HELLO: Rule(False, 2, MAX_HELLO_BYTES),
    FrameType.AUTH: Rule(False, 1, MAX_TOKEN_BYTES, (0, FLAG_AUTH_OK, FLAG_AUTH_REFUSED)),
    FrameType.OPEN: Rule(True, 2, MAX_OPEN_BYTES),
    FrameType.HEAD: Rule(True, 2, MAX_HEAD_BYTES),
    FrameType.DATA: Rule(True, 1, MAX_DATA_BYTES),
    FrameType.MARK: Rule(True, 0, MAX_CURSOR_BYTES),
    FrameType.CREDIT: Rule(True, 4, 4),
    FrameType.END: Rule(True, 0, 0),
    FrameType.RESET: Rule(True, 2, 2),
    FrameType.PING: Rule(False, 8, 8),
    FrameType.PONG: Rule(False, 8, 8),
    FrameType.GOAWAY: Rule(False, 6, 6),
}


def header(kind: FrameType, stream_id: int = 0, flags: int = 0) -> bytes:
    """Return the 8 bytes in front of a payload."""
    return HEADER.pack(kind, flags, 0, stream_id)


def frame(kind: FrameType, stream_id: int = 0, payload: Buffer = b"", flags: int = 0) -> bytes:
    """Return a whole (short) frame as one buffer."""
    return HEADER.pack(kind, flags, 0, stream_id) + payload


def parse(data: memoryview, limit_bytes: int = MAX_FRAME_BYTES) -> tuple[int, int, int, memoryview]:
    """Split one frame into type, flags, stream id and payload (borrowed).

    Raises:
        RemoteError: too long, too short, unknown type, or against the type's rule.
    """
    size = len(data)
    if size > limit_bytes:
        raise FrameTooLarge(size, limit_bytes)
    if size < HEADER_BYTES:
        raise RemoteError(f"frame of {size} bytes has no header")
    kind, flags, reserved, stream_id = HEADER.unpack_from(data)
    rule = RULES.get(kind)
    if rule is None:
        raise RemoteError(f"unknown frame type {kind}")
    if reserved or flags not in rule.flags or rule.on_stream != (stream_id != 0):
        raise RemoteError(f"frame type {kind}: reserved bits, flags or stream id")
    if not rule.low_bytes <= size - HEADER_BYTES <= rule.high_bytes:
        raise RemoteError(f"frame type {kind} with a payload of {size - HEADER_BYTES} bytes")
    return kind, flags, stream_id, data[HEADER_BYTES:]
