"""Latency of a short run, and that a stall cannot hide from it."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from planesplit.measure.catalogue import SUBJECTS
from planesplit.measure.lab import open_lab
from planesplit.measure.latency import Percentiles, measure_lines, measure_round_trips
from planesplit.measure.rig import LineSample
from planesplit.measure.subjects import Load

pytestmark = pytest.mark.integration

RATE_PER_S = 10_000.0
STALL_S = 0.2
WIDE_P50_MS = 20.0  # medians are below 1 ms


def quiet(text: str) -> None:
    """Say nothing."""


async def test_lines_arrive_at_the_rate_that_was_intended() -> None:
    subjects = [SUBJECTS["floor"], SUBJECTS["relay"]]
    figures = await measure_lines(
        subjects, RATE_PER_S, streams=1, duration_s=0.5, rounds=2, progress=quiet
    )
    for figure in figures:
        assert figure.achieved_per_s > 0.8 * RATE_PER_S
        assert 0 < figure.latency.p50_ms < WIDE_P50_MS
        assert figure.latency.p50_ms <= figure.latency.p99_ms <= figure.latency.p999_ms
        assert figure.send_delay.p50_ms <= figure.latency.p50_ms


async def test_round_trips_cross_both_ways() -> None:
    subjects = [SUBJECTS["floor"], SUBJECTS["relay-direct"]]
    figures = await measure_round_trips(
        subjects, size_bytes=100, count=100, rounds=2, progress=quiet
    )
    assert [figure.subject for figure in figures] == ["floor", "relay-direct"]
    assert all(0 < figure.rtt.p50_ms < WIDE_P50_MS for figure in figures)


async def test_a_stall_shows_in_the_lines_that_it_held_back() -> None:
    """A relay that is frozen for a fifth of a run delays a fifth of the lines, not one batch."""
    async with open_lab() as lab:
        rig = await SUBJECTS["floor"].start(lab, Load())
        found: list[LineSample] = []

        async def lines() -> None:
            found.append(await rig.lines(RATE_PER_S, 1.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lines)
            await trio.sleep(0.4)
            os.kill(rig.relay_pid, signal.SIGSTOP)
            await trio.sleep(STALL_S)
            os.kill(rig.relay_pid, signal.SIGCONT)
    (sample,) = found
    latencies = sample.plan.latencies_s(sample.received)
    assert len(latencies) == RATE_PER_S
    slow = sum(latency > STALL_S / 2 for latency in latencies) / len(latencies)
    assert 0.05 < slow < 0.3
    assert Percentiles.of(latencies).p99_ms > 0.8 * STALL_S * 1e3


async def test_lines_cross_the_whole_path_complete_and_in_order() -> None:
    """Log file, real agent, relay, tail; a lost, doubled or misplaced line is an error."""
    (figure,) = await measure_lines(
        [SUBJECTS["whole"]], RATE_PER_S, streams=2, duration_s=0.5, rounds=1, progress=quiet
    )
    assert figure.achieved_per_s > 0.8 * RATE_PER_S
    assert 0 < figure.latency.p50_ms < 5 * WIDE_P50_MS
    assert figure.agent_cpu_share.median > 0
