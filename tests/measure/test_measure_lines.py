"""The open-loop schedule: intended times, batching, latencies, and reading batches back."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse
from hypothesis import given
from hypothesis import strategies as st

from planesplit.measure import lines, node_log
from planesplit.measure.chunked import ChunkedBody
from planesplit.measure.lines import Batch, LinePlan, LineReader, LineSource
from planesplit.measure.tail_reader import TailReader
from planesplit.measure.unit import ENVELOPE, UNIT_BYTES, canned_unit


class Clock:
    """A clock that stands where it was put."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(lines, "time", SimpleNamespace(monotonic=lambda: self.now_s))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run(plan: LinePlan, stream: int, clock: Clock, *, stall_s: float = 0.0) -> LineSource:
    """Take all batches when they want to be taken, the second one `stall_s` late."""
    source = LineSource(plan, stream)
    while not source.done:
        clock.now_s = max(clock.now_s, source.wake_s())
        if len(source.handed_over) == 1:
            clock.now_s += stall_s
        source.take()
    return source


plans = st.builds(
    LinePlan,
    rate_per_s=st.sampled_from([10.0, 1_000.0, 100_000.0, 1_000_000.0]),
    duration_s=st.sampled_from([0.01, 0.05]),
    streams=st.integers(1, 5),
    start_s=st.just(100.0),
)


@given(plans, st.sampled_from([0.0, 0.02]))
def test_every_line_is_sent_once_in_order_and_never_before_its_time(
    plan: LinePlan, stall_s: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for stream in range(plan.streams):
            source = run(plan, stream, Clock(patch), stall_s=stall_s)
            sent = [b.first + i for b in source.handed_over for i in range(b.lines)]
            assert sent == list(range(plan.lines))
            for batch in source.handed_over:
                newest = batch.first + batch.lines - 1
                assert plan.intended_s(stream, newest) <= batch.at_s + 1e-9
                assert batch.lines <= plan.batch_lines


def test_the_first_line_goes_at_once_and_the_next_batch_waits(clock: Clock) -> None:
    plan = LinePlan(rate_per_s=10_000, duration_s=0.01, start_s=50.0)
    first, second, *_ = run(plan, 0, clock).handed_over
    assert (first.at_s, first.lines) == (50.0, 1)
    assert second.at_s == pytest.approx(50.001)
    assert second.lines in (9, 10)  # the tenth is due at that very moment


def test_a_full_batch_does_not_wait(clock: Clock) -> None:
    plan = LinePlan(rate_per_s=1_000_000, duration_s=0.01, start_s=50.0)
    second = run(plan, 0, clock).handed_over[1]
    assert second.at_s - 50.0 < plan.hold_off_s
    assert second.lines * plan.line_bytes <= plan.full_bytes


def test_a_stall_is_charged_to_every_line_that_it_held_back(clock: Clock) -> None:
    plan = LinePlan(rate_per_s=1_000, duration_s=1.0, start_s=50.0)
    source = run(plan, 0, clock, stall_s=0.5)
    latencies = plan.latencies_s(source.handed_over)
    assert len(latencies) == 1_000
    assert latencies[-1] == pytest.approx(0.5)
    assert sum(latency > 0.1 for latency in latencies) == pytest.approx(400, abs=2)
    assert max(source.late_s) == pytest.approx(0.5)


def test_latencies_count_from_the_intended_time() -> None:
    plan = LinePlan(rate_per_s=100, duration_s=1, streams=2, start_s=10.0)
    found = plan.latencies_s([Batch(1, 0, 3, 10.06)])
    assert found == pytest.approx([0.01, 0.03, 0.05])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9))), st.data())
def test_batches_are_read_however_the_bytes_are_split(
    wanted: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    keepalive = ENVELOPE.pack(0, 0)
    stream = b"".join(
        ENVELOPE.pack(0, lines.HEAD.size + count) + lines.HEAD.pack(s, first, count) + bytes(count)
        + keepalive
        for s, first, count in wanted
    )  # fmt: skip
    reader, found = LineReader(), []
    for piece in split(stream, data):
        found += reader.feed(memoryview(piece), 1.0)
    assert found == [Batch(*each, 1.0) for each in wanted]


@given(st.lists(st.binary(min_size=1, max_size=40)), st.data())
def test_a_chunked_body_is_read_however_it_is_split(
    payloads: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in payloads) + b"0\r\n\r\n"
    body, found = ChunkedBody(), b""
    for piece in split(stream, data):
        found += b"".join(body.feed(memoryview(piece)))
    assert found == b"".join(payloads)
    assert body.ended


@pytest.mark.parametrize("bad", [b"x" * 40, b"zz\r\n", b"0\r\n\r\nmore"])
def test_what_is_no_chunked_body_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"chunk|invalid literal"):
        ChunkedBody().feed(memoryview(bad))


def test_a_run_is_complete_when_every_line_came_once_and_in_order() -> None:
    plan = LinePlan(rate_per_s=100, duration_s=0.04, streams=2)
    whole = [Batch(0, 0, 1, 1.0), Batch(1, 0, 2, 1.0), Batch(0, 1, 1, 1.0)]
    assert plan.complete(whole)
    assert not plan.complete(whole[:2])
    assert not plan.complete([*whole, whole[-1]])
    assert not plan.complete([whole[2], whole[1], whole[0]])


def test_a_tail_reads_what_a_node_logs() -> None:
    records = node_log.records(["ready", *(f"{n:010d}..." for n in range(7, 10))])
    lines = [record.split(b" F ")[1].decode() for record in records.splitlines()]
    assert tail_message(lines) == [Batch(3, 7, 3, 1.5)]
    assert tail_message(["ready"]) == []
    with pytest.raises(ValueError, match="gap"):
        tail_message([lines[1], lines[3]])


def tail_message(lines: list[str]) -> list[Batch]:
    message = TailLogsResponse()
    logs = message.logs.add()
    for line in lines:
        logs.lines.add(message=line + "\n")
    data = message.SerializeToString()
    stream = ENVELOPE.pack(0, len(data)) + data + ENVELOPE.pack(0, 0)
    return TailReader(3).feed(memoryview(stream), 1.5)


def split(stream: bytes, data: st.DataObject) -> list[bytes]:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def test_a_unit_is_one_whole_message() -> None:
    unit = canned_unit()
    assert len(unit) == UNIT_BYTES
    assert ENVELOPE.unpack_from(unit) == (0, UNIT_BYTES - ENVELOPE.size)
