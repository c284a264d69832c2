"""The core's short way for DATA and MARK in order, which nearly every frame is.

Whatever is not exactly that takes the long way through `parse` and the table of states, which says
what is wrong with it.
"""

from __future__ import annotations

import struct

from tunnel.events import Data, Mark
from tunnel.frames import HEADER_BYTES, MAX_CURSOR_BYTES, FrameType
from tunnel.stream_state import Half
from tunnel.stream_table import StreamTable

WORDS = struct.Struct("!II")  # type, flags and reserved bits at a time; stream
DATA_WORD, MARK_WORD = FrameType.DATA << 24, FrameType.MARK << 24  # without a flag


def payload_event(
    data: memoryview, streams: StreamTable, limit_bytes: int
) -> tuple[int, Data | Mark] | None:
    """Book a frame and return its event; None, and nothing is booked, if it is none of these.

    Args:
        data: the frame, borrowed.
        streams: of an authenticated connection.
        limit_bytes: longest frame.
    """
    size = len(data) - HEADER_BYTES
    if not 0 <= size <= limit_bytes - HEADER_BYTES:
        return None
    word, stream_id = WORDS.unpack_from(data)
    record = streams.get(stream_id)
    if record is None or record.receiving is not Half.BODY:
        return None
    if word == DATA_WORD and 0 < size <= record.receive.outstanding:
        record.receive.received(size)
        return stream_id, Data(data[HEADER_BYTES:])
    if word == MARK_WORD and size <= MAX_CURSOR_BYTES:
        return stream_id, Mark(bytes(data[HEADER_BYTES:]))
    return None
