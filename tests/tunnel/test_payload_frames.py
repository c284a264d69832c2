"""The short way of DATA and MARK takes what is in order, and books nothing of anything else."""

from __future__ import annotations

import pytest

from tunnel.events import Data, Mark
from tunnel.frames import MAX_CURSOR_BYTES, MAX_FRAME_BYTES, FrameType, frame
from tunnel.payload_frames import payload_event
from tunnel.settings import TunnelSettings
from tunnel.stream_state import Half
from tunnel.stream_table import StreamTable

CREDIT = 100


def table(receiving: Half = Half.BODY) -> StreamTable:
    streams = StreamTable(1, TunnelSettings())
    record = streams.open_own(0, 0.0)
    record.receiving, record.receive.outstanding = receiving, CREDIT
    return streams


def take(streams: StreamTable, data: bytes) -> tuple[int, Data | Mark] | None:
    return payload_event(memoryview(data), streams, MAX_FRAME_BYTES)


def test_what_is_in_order_is_booked() -> None:
    streams = table()
    assert take(streams, frame(FrameType.DATA, 1, b"x" * CREDIT)) == (
        1,
        Data(memoryview(b"x" * CREDIT)),
    )
    assert take(streams, frame(FrameType.MARK, 1, b"7")) == (1, Mark(b"7"))
    assert take(streams, frame(FrameType.MARK, 1)) == (1, Mark(b""))
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
    assert take(streams, data) is None
    record = streams.get(1)
    assert record is not None
    assert (record.receive.outstanding, record.receive.queued) == (CREDIT, 0)
