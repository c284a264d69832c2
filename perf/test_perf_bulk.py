"""The relay beside its floor in a short run. Bounds are wide: they catch a fall, not a stumble."""

from __future__ import annotations

from functools import partial

import pytest

from perf.plan import QUICK, available
from planesplit.measure.catalogue import SUBJECTS
from planesplit.measure.peers import start_splice
from planesplit.measure.report import over_ratio
from planesplit.measure.rounds import Throughput, measure_throughput
from planesplit.measure.subjects import Subject

pytestmark = pytest.mark.integration

MOST_TIMES_FLOOR = 4.0  # medians are 1.8 to 3.0; a busy machine moves them by a third
SLOW_BUFFER_BYTES = 1_024
ROUNDS, ROUND_BYTES = 3, 60_000_000


async def run(*subjects: Subject, streams: int) -> list[Throughput]:
    return await measure_throughput(
        subjects,
        streams,
        rounds=ROUNDS,
        round_bytes=ROUND_BYTES,
        progress=lambda text: None,
    )


@pytest.mark.parametrize("streams", QUICK.streams)
async def test_the_relay_stays_near_its_floor(streams: int) -> None:
    subjects, _ = available(("floor", "relay", "relay-direct"))
    figures = await run(*subjects, streams=streams)
    assert over_ratio(figures, "relay", MOST_TIMES_FLOOR) == []
    assert over_ratio(figures, "relay-direct", MOST_TIMES_FLOOR) == []
    assert all(sample.payload_bytes > 0.9 * ROUND_BYTES for sample in figures[1].samples)


async def test_the_floor_is_well_written() -> None:
    subjects, skipped = available(("floor", "haproxy"))
    if skipped:
        pytest.skip(skipped["haproxy"])
    figures = {figure.subject: figure.ratio for figure in await run(*subjects, streams=1)}
    haproxy = figures["haproxy"]
    assert haproxy
    assert haproxy.median > 1.0, "HAProxy costs less"


async def test_a_relay_that_is_slow_does_not_pass() -> None:
    """The check can fail: a splice that handles 1 KiB at a time is found out."""
    start = partial(start_splice, name="slow", buffer_bytes=SLOW_BUFFER_BYTES)
    slow = Subject("slow", "splice with a tiny buffer", start, frozenset({"bulk"}))
    figures = await run(SUBJECTS["floor"], slow, streams=1)
    assert over_ratio(figures, "slow", MOST_TIMES_FLOOR)
    assert over_ratio(figures, "floor", 1.0) == []
