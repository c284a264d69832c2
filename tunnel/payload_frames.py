"""The core's short way for DATA and MARK in order, which nearly every frame is.

Whatever is not exactly that takes the long way through `parse` and the table of states, which says
what is wrong with it.
"""

from __future__ import annotations

import struct

from tunnel.events import Data, Events, Mark
from tunnel.frames import HEADER_BYTES, MAX_CURSOR_BYTES, FrameType
from tunnel.stream_state import Half
from tunnel.stream_table import StreamTable

WORDS = struct.Struct("!II")  # type, flags and reserved bits at a time; stream
DATA_WORD, MARK_WORD = FrameType.DATA << 24, FrameType.MARK << 24  # without a flag


def payload_events(
    frames: list[memoryview], at: int, streams: StreamTable, limit_bytes: int, events: Events
) -> int:
    """Book the frames from `at` on that are such, all in a row, and append their events.

    Args:
        frames: whole frames, borrowed.
        at: where to begin.
        streams: of an authenticated connection.
        limit_bytes: longest frame.
        events: (stream id, event) each.

    Returns:
        Where the first frame is that is none of these; nothing of it is booked.
    """
    unpack, known, record = WORDS.unpack_from, 0, None
    longest = limit_bytes - HEADER_BYTES
    for index in range(at, len(frames)):
        data = frames[index]
        size = len(data) - HEADER_BYTES
        if not 0 <= size <= longest:
            return index
        word, stream_id = unpack(data)
        if stream_id != known:  # mostly the stream of the frame before
            known, record = stream_id, streams.get(stream_id)
        if record is None or record.receiving is not Half.BODY:
            return index
        if word == DATA_WORD and 0 < size <= record.receive.outstanding:
            record.receive.received(size)
            events.append((stream_id, Data(data[HEADER_BYTES:])))
        elif word == MARK_WORD and size <= MAX_CURSOR_BYTES:
            events.append((stream_id, Mark(bytes(data[HEADER_BYTES:]))))
        else:
            return index
    return len(frames)
