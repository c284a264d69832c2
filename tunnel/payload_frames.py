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
from tunnel.windows import ReceiveWindow

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
    while at < len(frames) and len(frames[at]) >= HEADER_BYTES:
        stream_id = WORDS.unpack_from(frames[at])[1]
        record = streams.get(stream_id)
        if record is None or record.receiving is not Half.BODY:
            break
        upto = _one_streams(frames, at, stream_id, record.receive, limit_bytes, events)
        if upto == at:
            break
        at = upto
    return at


def _one_streams(
    frames: list[memoryview],
    at: int,
    stream_id: int,
    window: ReceiveWindow,
    limit_bytes: int,
    events: Events,
) -> int:
    """The same for frames of one stream, which mostly come several at a time."""
    unpack, room, booked = WORDS.unpack_from, window.outstanding, 0
    for index in range(at, len(frames)):
        data = frames[index]
        size = len(data) - HEADER_BYTES
        if not 0 <= size <= limit_bytes - HEADER_BYTES:
            break
        word, its_stream = unpack(data)
        if its_stream != stream_id:
            break
        if word == DATA_WORD and 0 < size <= room - booked:
            booked += size
            events.append((stream_id, Data(data[HEADER_BYTES:])))
        elif word == MARK_WORD and size <= MAX_CURSOR_BYTES:
            events.append((stream_id, Mark(bytes(data[HEADER_BYTES:]))))
        else:
            break
    else:
        index = len(frames)
    if booked:
        window.received(booked)
    return index
