"""The short way of DATA and MARK takes what is in order, and books nothing of anything else."""

from __future__ import annotations

import pytest

from tunnel.events import Data, Events, Mark
from tunnel.frames import MAX_CURSOR_BYTES, MAX_FRAME_BYTES, FrameType, frame
from tunnel.payload_frames import payload_events
from tunnel.settings import TunnelSettings
from tunnel.stream_state import Half
from tunnel.stream_table import StreamTable

CREDIT = 100


def table(receiving: Half = Half.BODY) -> StreamTable:
    streams = StreamTable(1, TunnelSettings())
    record = streams.open_own(0, 0.0)
    record.receiving, record.receive.outstanding = receiving, CREDIT
    return streams


def take(streams: StreamTable, *frames: bytes) -> Events:
    """Take frames after one that is left out; exactly those whose events are returned."""
    events: Events = []
    views = [memoryview(data) for data in (b"", *frames)]
    end = payload_events(views, 1, streams, MAX_FRAME_BYTES, events)
    assert end == 1 + len(events)
    return events


def test_what_is_in_order_is_booked() -> None:
    streams = table()
    data = frame(FrameType.DATA, 1, b"x" * CREDIT)
    marks = frame(FrameType.MARK, 1, b"7"), frame(FrameType.MARK, 1)
    assert take(streams, data, *marks) == [
        (1, Data(memoryview(b"x" * CREDIT))),
        (1, Mark(b"7")),
        (1, Mark(b"")),
    ]
    record = streams.get(1)
    assert record is not None
    assert (record.receive.outstanding, record.receive.queued) == (0, CREDIT)


@pytest.mark.parametrize(
    ("receiving", "data"),
    [
        (Half.BODY, b"\5\0\0\0"),
        (Half.BODY, frame(FrameType.DATA, 1)),
        (Half.BODY, frame(FrameType.DATA, 1, b"x" * (CREDIT + 1))),
        (Half.BODY, frame(FrameType.DATA, 1, b"x", flags=1)),
        (Half.BODY, frame(FrameType.DATA, 3, b"x")),
        (Half.BODY, frame(FrameType.DATA, 0, b"x")),
        (Half.BODY, frame(FrameType.DATA, 1, bytes(MAX_FRAME_BYTES))),
        (Half.BODY, frame(FrameType.MARK, 1, bytes(MAX_CURSOR_BYTES + 1))),
        (Half.BODY, frame(FrameType.END, 1)),
        (Half.HEAD, frame(FrameType.DATA, 1, b"x")),
        (Half.ENDED, frame(FrameType.MARK, 1)),
    ],
)
def test_anything_else_goes_the_long_way(receiving: Half, data: bytes) -> None:
    streams = table(receiving)
    assert take(streams, data, frame(FrameType.MARK, 1)) == []
    record = streams.get(1)
    assert record is not None
    assert (record.receive.outstanding, record.receive.queued) == (CREDIT, 0)


def test_each_frame_is_booked_on_its_own_stream() -> None:
    streams = table()
    other = streams.open_own(0, 0.0)
    other.receiving, other.receive.outstanding = Half.BODY, CREDIT
    ids = (1, other.id, other.id, 1)
    events = take(streams, *(frame(FrameType.DATA, stream, b"x" * stream) for stream in ids))
    assert [stream for stream, _ in events] == list(ids)
    assert [streams.get(stream).receive.queued for stream in (1, other.id)] == [2, 2 * other.id]  # type: ignore[union-attr]


def test_credit_is_used_up_by_frames_of_the_same_read() -> None:
    streams = table()
    data = frame(FrameType.DATA, 1, b"x" * (CREDIT - 40))
    assert len(take(streams, data, frame(FrameType.MARK, 1), data)) == 2
    record = streams.get(1)
    assert record is not None
    assert (record.receive.outstanding, record.receive.queued) == (40, CREDIT - 40)
