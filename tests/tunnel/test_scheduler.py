"""Who sends next: control first, streams in turn, a quantum each."""

from __future__ import annotations

from collections import Counter

import pytest
from cast import SETTINGS, WINDOW
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import Code, RemoteError
from tunnel.frames import HEADER, MAX_CURSOR_BYTES, MAX_DATA_BYTES, U32, FrameType, frame
from tunnel.scheduler import MAX_CONTROL_FRAMES, QUANTUM_BYTES, Scheduler, joined
from tunnel.stream_state import Half
from tunnel.streams import Frame, StreamRecord
from tunnel.windows import GrowthPool, ReceiveWindow

PONG = frame(FrameType.PONG, payload=bytes(8))


def writer(stream_id: int, size: int, credit: int = 1 << 30) -> StreamRecord:
    """A stream with `size` bytes to send."""
    window = ReceiveWindow(GrowthPool(0), SETTINGS, 0.0)
    record = StreamRecord(stream_id, opener=True, credit=credit, receive=window)
    record.sending = Half.BODY
    if size:
        record.put(FrameType.DATA, bytes(size))
    return record


def who(parts: Frame) -> tuple[int, int, int]:
    """Type, stream and payload size of a frame."""
    data = bytes(joined(parts))
    kind, _, _, stream_id = HEADER.unpack_from(data)
    return kind, stream_id, len(data) - HEADER.size


def test_an_idle_scheduler_has_nothing() -> None:
    scheduler = Scheduler()
    scheduler.ready(writer(1, 0))
    assert not scheduler.pending
    assert scheduler.take(1 << 20, MAX_DATA_BYTES) == ([], [])


def test_control_overtakes_data_and_credit_follows_control() -> None:
    scheduler = Scheduler()
    assert not scheduler.only()
    scheduler.grant(3, 7)
    assert scheduler.only()
    scheduler.ready(writer(1, 10))
    assert (scheduler.only(), scheduler.only(1), scheduler.only(3)) == (False, True, False)
    scheduler.control(PONG)
    frames, touched = scheduler.take(1 << 20, MAX_DATA_BYTES)
    assert [who(f)[:2] for f in frames] == [
        (FrameType.PONG, 0),
        (FrameType.CREDIT, 3),
        (FrameType.DATA, 1),
    ]
    assert [record.id for record in touched] == [1]
    assert not scheduler.pending


def test_credit_adds_up_until_it_can_be_sent() -> None:
    scheduler = Scheduler()
    scheduler.grant(3, 7)
    scheduler.grant(5, 1)
    scheduler.grant(3, 4)
    scheduler.forget(5)
    scheduler.forget(9)
    assert scheduler.pending
    frames, _ = scheduler.take(1, MAX_DATA_BYTES)
    assert frames == [[frame(FrameType.CREDIT, 3, U32.pack(11))]]
    assert not scheduler.pending


def test_control_frames_are_limited() -> None:
    scheduler = Scheduler()
    for _ in range(MAX_CONTROL_FRAMES):
        assert not scheduler.full
        scheduler.control(PONG)
    assert scheduler.full
    with pytest.raises(RemoteError) as refusal:
        scheduler.control(PONG)
    assert refusal.value.code is Code.REFUSED


def test_streams_take_turns() -> None:
    scheduler = Scheduler()
    for stream_id in (1, 3, 5):
        scheduler.ready(writer(stream_id, 16 * MAX_DATA_BYTES))
    turns = []
    while scheduler.pending:
        _, touched = scheduler.take(1, MAX_DATA_BYTES)
        turns += [record.id for record in touched]
    assert turns == [1, 3, 5] * 4


def test_four_units_with_their_marks_are_one_turn() -> None:
    record = writer(1, 0)
    for _ in range(5):
        record.put(FrameType.DATA, bytes(MAX_DATA_BYTES))
        record.put(FrameType.MARK, bytes(MAX_CURSOR_BYTES))
    frames, _ = record.pull(QUANTUM_BYTES, MAX_DATA_BYTES)
    assert [who(f)[0] for f in frames] == [FrameType.DATA, FrameType.MARK] * 4


def test_a_small_message_waits_for_one_turn_of_the_others_at_most() -> None:
    scheduler = Scheduler()
    bulk = [writer(2 * n + 1, 100 * QUANTUM_BYTES) for n in range(16)]
    for record in bulk:
        scheduler.ready(record)
    scheduler.take(10 * QUANTUM_BYTES, MAX_DATA_BYTES)
    scheduler.ready(writer(99, 200))
    ahead = 0
    while True:
        frames, _ = scheduler.take(QUANTUM_BYTES, MAX_DATA_BYTES)
        if any(who(f)[1] == 99 for f in frames):
            break
        ahead += sum(who(f)[2] for f in frames)
    assert ahead <= len(bulk) * QUANTUM_BYTES


@given(st.lists(st.integers(1, 300_000), min_size=2, max_size=6), st.integers(1, 400_000))
def test_while_two_streams_wait_neither_is_a_quantum_ahead(sizes: list[int], budget: int) -> None:
    scheduler = Scheduler()
    records = {2 * n + 1: writer(2 * n + 1, size) for n, size in enumerate(sizes)}
    for record in records.values():
        scheduler.ready(record)
    sent: Counter[int] = Counter(dict.fromkeys(records, 0))
    while scheduler.pending:
        frames, _ = scheduler.take(budget, MAX_DATA_BYTES)
        for _, stream_id, size in map(who, frames):
            sent[stream_id] += size
        waiting = [sent[i] for i, record in records.items() if record.unsent]
        assert not waiting or max(waiting) - min(waiting) <= QUANTUM_BYTES
    assert [sent[i] for i in records] == sizes


def test_a_stream_without_credit_costs_the_others_nothing() -> None:
    scheduler = Scheduler()
    stuck, free = writer(1, 1000, credit=0), writer(3, 1000)
    scheduler.ready(stuck)
    scheduler.ready(free)
    frames, touched = scheduler.take(1 << 20, MAX_DATA_BYTES)
    assert [who(f) for f in frames] == [(FrameType.DATA, 3, 1000)]
    assert touched == [free]
    stuck.credit.grant(WINDOW)
    scheduler.ready(stuck)
    scheduler.ready(stuck)
    frames, _ = scheduler.take(1 << 20, MAX_DATA_BYTES)
    assert [who(f) for f in frames] == [(FrameType.DATA, 1, 1000)]


def test_order_within_a_stream_is_kept_and_only_data_needs_credit() -> None:
    record = writer(1, 0, credit=3)
    for kind, body in (
        (FrameType.MARK, b"a"),
        (FrameType.DATA, b"xyzw"),
        (FrameType.MARK, b""),
        (FrameType.END, b""),
    ):
        record.put(kind, body)
    frames, size = record.pull(QUANTUM_BYTES, MAX_DATA_BYTES)
    assert [who(f) for f in frames] == [(FrameType.MARK, 1, 1), (FrameType.DATA, 1, 3)]
    assert (size, record.unsent, record.sendable) == (4, 1, False)
    record.credit.grant(1)
    frames, _ = record.pull(QUANTUM_BYTES, MAX_DATA_BYTES)
    kinds = [who(f)[0] for f in frames]
    assert kinds == [FrameType.DATA, FrameType.MARK, FrameType.END]


def test_frames_of_one_part_are_not_copied() -> None:
    assert joined([PONG]) is PONG
    assert joined([b"ab", memoryview(b"cd")]) == b"abcd"
